"""The rooms that need no host: the declaration, rendered files, programs and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from invoke.exceptions import Exit as FabricExit

from provision import native
from provision.cli.session import Session
from provision.errors import UsageError
from provision.tasks.room import room

_TAG = "Tag, or REGISTRY/REPOSITORY:TAG"


@room(production="Judge it by the production checklist, too.", sarif="--production: write what it found there.")
def check(session: Session, production: bool = False, sarif: str = "") -> None:
    """Say whether deploy.toml and .env are sound."""
    from provision.cli import checking

    code = checking.check(session, session.named_target, production=production, sarif=Path(sarif) if sarif else None)
    if code:
        raise FabricExit(code=int(code))


@room(
    platform="kubernetes, compose, systemd … (all of them: deploy render --help).",
    out="A folder to write them to, instead of showing them.",
    force="Replace files that somebody else wrote or changed, too.",
)
def render(session: Session, platform: str, out: str = "", force: bool = False) -> None:
    """Show or write the files that a platform reads, for people to review."""
    from provision.cli import rendering
    from provision.project.platforms import RENDERED

    if platform not in RENDERED:
        raise UsageError(f"{platform}: no such platform.", why=f"One of: {', '.join(RENDERED)}.")
    rendering.render(session, platform, session.named_target, Path(out) if out else None, force=force)


@room(
    "build",
    targets=False,
    iterable=("only", "define"),
    profile="One of `deploy native profiles`.",
    only="Only this program; repeatable.",
    source="A checkout of microsoft/BitNet or llama.cpp; bitnet[@REV] clones it.",
    define="A CMake variable, NAME=VALUE; repeatable.",
    toolkit="CUDA's: a folder, or pinned for the one from PyPI.",
    jobs="Compilers at once (default: what cores and memory allow).",
    out="Where bin/ goes (default: build).",
)
def build_native(
    session: Session,
    profile: str = "native",
    only: Sequence[str] | None = None,
    source: str = "",
    define: Sequence[str] | None = None,
    toolkit: str = "",
    jobs: int = 0,
    out: str = "",
) -> native.BuildResult:
    """Compile llama-server and its siblings into build/bin."""
    if wrong := [item for item in define or () if "=" not in item]:
        raise UsageError(f"--define {wrong[0]}: a CMake variable is NAME=VALUE.")
    with session.console.live():
        built = native.build(
            profile,
            targets=only or native.TARGETS,
            source=source or None,
            root=session.directory.absolute(),
            out=Path(out) if out else None,
            define=dict(item.partition("=")[::2] for item in define or ()),
            toolkit=toolkit,
            jobs=jobs or None,
            on_event=session.console.event,
        )
    session.console.answer({}, [*map(str, built.binaries.values()), str(built.record)])
    return built


@room(
    "build",
    targets=False,
    iterable=("base", "define"),
    names="One of images/, or several with commas between.",
    platform="linux/amd64 or linux/arm64 (default: this machine's).",
    builder="docker, buildah, or an engine: ssh://user@host.",
    base="NAME=IMAGE, instead of the base in images/lock.json; repeatable.",
    compile_in="host: this machine's compilers; container: those of images/builder.",
    source="Of the programs: a checkout of microsoft/BitNet or llama.cpp; bitnet[@REV] clones it.",
    define="A CMake variable for the programs, NAME=VALUE; repeatable.",
    load="Whether the engine has it afterwards, as NAME:built.",
)
def build_images(
    session: Session,
    names: str,
    platform: str = "",
    builder: str = "docker",
    base: Sequence[str] | None = None,
    compile_in: Literal["host", "container"] = "host",
    source: str = "",
    define: Sequence[str] | None = None,
    load: bool = True,
) -> None:
    """Build images of images/ into build/images/NAME/oci."""
    from provision.cli import building

    building.build_images(
        session,
        names.split(","),
        platform=platform or None,
        builder=builder,
        bases=base or (),
        compile_in=compile_in,
        source=source,
        define=define or (),
        load=load,
    )


@room(
    "smoke",
    targets=False,
    iterable=("env",),
    image="One in a registry, or the name of one that was built here.",
    report="Where the results go, for `deploy image attest`.",
    engine="Which Docker Engine (default: DOCKER_HOST, or this machine's).",
    model="A GGUF file (default: the demo's).",
    memory="Bytes that it may use.",
    cpus="Processor cores that it may use.",
    network="A network of the engine, where it needs one.",
    env="NAME=VALUE, or NAME: as it is here; repeatable.",
    drain="Seconds that it may take to end after SIGTERM.",
)
def smoke_image(
    session: Session,
    image: str,
    report: str = "",
    engine: str = "",
    model: str = "",
    memory: int = 1 << 30,
    cpus: float = 2.0,
    network: str = "none",
    env: Sequence[str] | None = None,
    drain: float = 30.0,
) -> None:
    """Boot an image as in production, and ask it for a completion."""
    from provision.cli import smoking

    smoking.smoke_image(
        session,
        image,
        report=Path(report) if report else None,
        engine=engine,
        model=Path(model) if model else None,
        memory=memory,
        cpus=cpus,
        network=network,
        variables=env or (),
        drain=drain,
    )


@room(
    "promote",
    targets=False,
    name="An image of promotion.toml, or REGISTRY/REPOSITORY.",
    origin=f"{_TAG}, or digest.",
    to=f"{_TAG}.",
    dry_run="Show all of it; change nothing.",
    key="Public keys that count (default: evidence.pub).",
    private="The key that signs the move, instead of DEPLOY_EVIDENCE_KEY.",
    anew="Begin the channel's history here, where it is unsigned, broken or gone.",
)
def promote_image(
    session: Session,
    name: str,
    origin: str = "canary",
    to: str = "stable",
    dry_run: bool = False,
    key: str = "",
    private: str = "",
    anew: bool = False,
) -> None:
    """Move a channel to exactly the bytes that were proven."""
    from provision.cli import channels

    files = {"key": Path(key) if key else None, "private": Path(private) if private else None}
    channels.promote(session, name, origin, to, dry_run=dry_run, anew=anew, **files)

"""`deploy render`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import click

from provision.cli.session import Session, declared_targets
from provision.cli.verb import verb
from provision.errors import UsageError
from provision.project.platforms import DEFAULT, PLATFORMS, RENDERED

_EXAMPLE = """\
deploy render kubernetes
deploy render kubernetes --out k8s && kubectl apply -k k8s/overlays/staging
deploy render systemd --target fleet --out units"""


@verb("render", example=_EXAMPLE, hosts=False)
@click.argument("platform", type=click.Choice(RENDERED), metavar="PLATFORM")
@click.option("-t", "--target", "only", metavar="NAME", help="Only the services of this target; hosts need one.")
@click.option(
    "-o", "--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write them there, not here."
)
@click.option("--force", is_flag=True, help="Replace files that somebody else wrote or changed, too.")
def command(session: Session, platform: str, only: str | None, out: Path | None, force: bool) -> None:
    """Show or write the files that a platform reads, for people to review.

    The same project gives the same bytes, so a diff shows what a change of deploy.toml means. In DIR a file that is
    rendered no more is removed; one that deploy render did not write, or that was changed by hand, is refused by name.
    A template of the project's own, templates/PLATFORM/NAME, replaces ours. Secrets are never in these files.
    """
    from provision.platforms import face
    from provision.project import load
    from provision.project.located import located

    name = only or _only_target(session.directory, platform)
    loaded = load(session.directory, target=name, without_targets=name is None, demand_secrets=False)
    place = loaded.project.targets[name] if name else None
    if PLATFORMS[platform].rendered_for == "target" and place and place.platform != platform:
        raise UsageError(
            f"targets.{name} is a place for {place.platform}.", next_step=f"deploy render {place.platform}"
        )
    with located(loaded.declaration):
        files = face(platform).files(loaded.project, place, loaded.root)
    if out is None:
        _show(session, platform, files)
    else:
        _write(session, platform, files, out, force=force)


command.help = "\n".join(
    [
        inspect.cleandoc(command.help or ""),
        "\n\b\nPlatforms:",
        *(f"  {name:<14} {each.gives}" for name, each in PLATFORMS.items() if each.gives),
    ]
)


def _only_target(directory: Path, platform: str) -> str | None:
    """The one target that what is written depends on; None where it depends on none.

    A supervisor's files are a matter of the targets that have it. A firewall is one of those that declare it: what they
    say must not be lost because nobody named them.

    Raises:
        UsageError: there is none, or there are several.
    """
    kind = PLATFORMS[platform].rendered_for
    if not kind:
        return None
    targets = declared_targets(directory)
    if kind == "target":
        fitting, have = [name for name, each in targets.items() if each.get("platform", DEFAULT) == platform], platform
    else:
        fitting, have = [name for name, each in targets.items() if kind in each], f"a {kind}"
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError("which target?", why=f"{', '.join(fitting)} have {have}.", next_step=f"--target {fitting[0]}")
    if kind != "target":
        return None
    raise UsageError(
        f"deploy.toml declares no target with {platform}.",
        why="Where things are on a host, and whose they are, is the target's matter.",
        next_step=f'add [targets.NAME] with platform = "{platform}", hosts = ["user@host"] and path = "/srv/NAME"',
    )


def _show(session: Session, platform: str, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        # As head(1) does it; a single file stands alone, so that it can be piped.
        heading = [f"==> {path} <=="] if len(files) > 1 else []
        session.console.answer({"event": "file", "path": path, "text": text}, [*heading, text.removesuffix("\n")])
    session.console.answer({"event": "result", "platform": platform, "files": len(files)})


def _write(session: Session, platform: str, files: Mapping[str, str], folder: Path, *, force: bool) -> None:
    from provision.manifests.folder import compare, write

    changes = compare(folder, platform, files)
    if changes.foreign and not force:
        raise UsageError(
            "\n".join(["nothing was written, because something would be lost:", *changes.foreign]),
            next_step="move it away, or render with --force",
        )
    write(folder, platform, files, changes)
    for state, paths in (("written", changes.write), ("removed", changes.remove), ("unchanged", changes.keep)):
        for path in paths:
            lines = [] if state == "unchanged" else [f"{state} {folder / path}"]
            session.console.answer({"event": "file", "path": str(folder / path), "state": state}, lines)
    counts = {"written": len(changes.write), "removed": len(changes.remove), "unchanged": len(changes.keep)}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    session.console.answer(
        {"event": "result", "platform": platform, "folder": str(folder), **counts}, f"{folder}: {said}"
    )

"""Files for a platform, shown or written; `deploy render` and its task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from provision.cli.github.forks import given, refuse_fork
from provision.cli.session import Session, declared_targets
from provision.errors import UsageError
from provision.manifests.folder import compare, write
from provision.platforms import face
from provision.project import load
from provision.project.loaded import LoadedProject
from provision.project.located import located, remarked
from provision.project.platforms import DEFAULT, PLATFORMS


def render(
    session: Session, platform: str, only: str | None, out: Path | None, *, force: bool, rbac: bool = False
) -> None:
    """Show the files of `platform`, or write them into `out`.

    Args:
        only: the target whose services are meant.
        force: replace files that somebody else wrote or changed, too.
        rbac: the account that a deploy needs there, instead.

    Raises:
        DeclarationError: something cannot be rendered; says where.
        UsageError: it is not clear for which target, or something would be lost.
    """
    name = only or (_account_of(session.directory) if rbac else _only_target(session.directory, platform))
    allowed = given()
    loaded = load(
        session.directory,
        environ=allowed.environ,
        env_file=allowed.env_file,
        target=name,
        without_targets=name is None,
        demand_secrets=False,
    )
    place = loaded.project.targets[name] if name else None
    if PLATFORMS[platform].rendered_for == "target" and place and place.platform != platform:
        raise UsageError(
            f"targets.{name} is a place for {place.platform}.", next_step=f"deploy render {place.platform}"
        )
    if rbac:
        if not PLATFORMS[platform].in_cluster:
            raise UsageError(f"--rbac is for clusters, and {platform} is none.", next_step="leave --rbac out")
        from provision.manifests.kubernetes.rbac import render_rbac

        namespace = (place.namespace if place else None) or loaded.project.name
        files = render_rbac(loaded.project.name, namespace)
        _show(session, platform, files) if out is None else _write(session, platform, files, out, force=force)
        return
    if PLATFORMS[platform].installs:
        _pin(session, loaded)
    with located(loaded.declaration):
        files = face(platform).files(loaded.project, place, loaded.root)
    for problem in remarked(
        loaded.declaration, face(platform).remarks(loaded.project, place, partial(_built, loaded.root))
    ):
        session.console.event({"event": "warning", "host": "", "text": str(problem)})
    if out is None:
        _show(session, platform, files)
    else:
        _write(session, platform, files, out, force=force)


def _pin(session: Session, loaded: LoadedProject) -> None:
    """Make deploy.lock where it is stale: what is rendered installs that."""
    from provision.release import lock
    from provision.release.environment import for_uv

    python = loaded.project.python
    if python is None or python.source == "host" or not lock.read(python, loaded.root).stale:
        return
    refuse_fork("deploy.lock is not made anew, which may run what it names,")
    secrets = load(session.directory, without_targets=True).secrets if python.secrets else loaded.secrets
    lock.renew(python, loaded.root, for_uv(python, loaded.root, secrets), session.console.event)


def _built(root: Path, repository: str) -> str:
    """The digest of the image that `deploy image build` made for a repository of this name; empty for none."""
    from provision.images.registry.layout import ImageFolder

    folder = root / "build" / "images" / repository.rpartition("/")[2] / "oci"
    try:
        return ImageFolder(folder).manifest.digest if folder.is_dir() else ""
    except UsageError:
        return ""


def _account_of(directory: Path) -> str | None:
    """The target whose namespace an account is for; None where nothing is declared but the project's name.

    Raises:
        UsageError: targets have several.
    """
    targets = declared_targets(directory)
    known = {name: PLATFORMS.get(str(each.get("platform", DEFAULT))) for name, each in targets.items()}
    clusters = [name for name, each in known.items() if each and each.in_cluster]
    if len({str(targets[name].get("namespace")) for name in clusters}) > 1:
        why = f"Each of {', '.join(clusters)} has a namespace, and an account there."
        raise UsageError("which target?", why=why, next_step=f"--target {clusters[0]}")
    return next(iter(clusters), None)


def _only_target(directory: Path, platform: str) -> str | None:
    """The one target that what is written depends on; None where it depends on none.

    A supervisor's files are a matter of the targets that have it. A firewall or a Gateway is one of those that declare
    it: what they say must not be lost because nobody named them.

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

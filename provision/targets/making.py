"""A target's release, made on this machine: its images by digest, its lock as new as the project, what is odd told."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from provision import errors
from provision.project.fault import dotted

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.release import Hashing, Release
    from provision.targets.conversation import OnEvent


def make(
    loaded: LoadedProject, target_name: str, channel: str, *, pins: bool, on_event: OnEvent
) -> tuple[Release, dict[str, str]]:
    """The release, and by name and tag which digest is deployed for each image that is followed.

    Args:
        channel: that it is for; empty for who only looks, and asks no registry.
        pins: whether deploy.lock is made anew where it is older than what it is made from.

    Raises:
        DeployError: it can't be built.
    """
    from provision.release import build

    project, target = loaded.project, loaded.project.targets[target_name]
    images: dict[str, str] = {}
    if channel and not target.can.on_host:
        from provision.targets.following import followed

        project, images = followed(project, target, channel)
    if target.can.on_host:
        _pin(loaded, pins, on_event)
    try:
        release = build(project, target_name, loaded.root, on_event=lambda event: on_event(_told(event)))
    except errors.UnencodableValue as refusal:
        from provision.manifests.refusals import refusals
        from provision.project.located import declaration_error

        # Every value that the target's files cannot hold, with its place.
        found = refusals(loaded.project, [target], loaded.root, loaded.secrets)
        raise declaration_error(found or [refusal], loaded.declaration) from None
    exposed = (f"{dotted(each.path)}: {each.message} See: deploy check" for each in loaded.suspects)
    for text in (*exposed, *release.warnings):
        on_event({"event": "warning", "host": "", "text": text})
    for each in release.libraries:
        names = ", ".join(PurePosixPath(file).name for file in each.files)
        brings = f"{each.binary} brings the libraries beside it: {names}"
        on_event({"event": "message", "host": "", "phase": "ship", "text": brings})
    return release, images


def _told(event: Hashing) -> dict[str, object]:
    return {
        "event": "progress",
        "host": "",
        "phase": "hash",
        "file": event.path.name,
        "done": event.done,
        "total": event.total,
        "unit": "bytes",
    }


def _pin(loaded: LoadedProject, pins: bool, on_event: OnEvent) -> None:
    """Make deploy.lock where it is stale, for a deploy; who only looks is told."""
    python, root = loaded.project.python, loaded.root
    if python is None or python.source == "host":
        return
    from provision.release import lock
    from provision.release.environment import for_uv

    if pins:
        lock.renew(python, root, for_uv(python, root, loaded.secrets), on_event)
    elif stale := lock.read(python, root).stale:
        text = f"{stale}: deploy up makes it anew first, and its environment is then another"
        on_event({"event": "warning", "host": "", "text": text})

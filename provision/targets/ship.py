"""Bringing a release to a host: models once by content, files next to those that are there already."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provision import haproxy
from provision.contract.answers import (
    Done,
    EngineFolder,
    EnvironmentFolder,
    Folder,
    HaproxyFolder,
    Present,
    PythonFound,
)
from provision.contract.layout import Layout
from provision.contract.names import below
from provision.engines import wheel
from provision.errors import Interrupted, NoRoom
from provision.targets.secrets import of_step

if TYPE_CHECKING:
    from pathlib import Path

    from provision.contract.bringing import BuildEnvironment
    from provision.contract.requests import Seal
    from provision.hosts import RsyncProgress
    from provision.plan import Plan
    from provision.release import Release
    from provision.targets.conversation import Interrupt
    from provision.targets.host import HostConversation

_TELL_SECONDS = 0.1  # rsync tells after each file, and nobody reads as fast
# As a sealed release has them: files that differ in mode from those of the last release could not be linked to them.
_CHMOD = "Du=rwx,Dgo=rx,Fugo=rX"


@dataclass
class Shipment:
    """One release on its way to one host."""

    session: HostConversation
    release: Release
    nonce: str
    plan: Plan
    interrupt: Interrupt | None = None
    left_over: list[str] = field(default_factory=list)  # paths of an earlier upload that must go

    @property
    def layout(self) -> Layout:
        return Layout(self.session.deployment.target.path)

    @property
    def folder(self) -> str:
        return self.layout.incoming(self.nonce)

    def stop_if_asked(self) -> None:
        """Raises Interrupted where Ctrl-C was pressed."""
        if self.interrupt is not None and self.interrupt.abort:
            raise Interrupted(
                "interrupted while shipping; nothing was disturbed.",
                why="What has arrived is kept: the next deploy goes on from there.",
                host=self.session.spec.name,
            )

    def seal_request(self) -> Seal:
        return {
            "nonce": self.nonce,
            "release": self.release.id,
            "document": self.release.document,
            "remove": self.left_over,
            "secrets": of_step(self.session.deployment.loaded, self.release.document["prepare"]),
        }

    def send_again(self, entries: Mapping[str, str]) -> None:
        """Send what differs on the host from what was meant, by content this time.

        Size and time were equal to those of an older file whose content is another, or an earlier upload left files.
        """
        self.left_over = sorted(entries.keys() - self.release.paths.keys())
        if differing := self.differing(entries):
            _rsync(self, differing, checksum=True)

    def differing(self, entries: Mapping[str, str]) -> list[str]:
        """The files that are missing in `entries`, or are others there."""
        return [file.path for file in self.release.files if entries.get(file.path) != (file.sha256 or file.target)]


def ship_files(shipment: Shipment) -> None:
    """Bring the release's files into its incoming folder."""
    session = shipment.session
    if session.spec.sudo:
        session.conversation.ask({"op": "incoming", "nonce": shipment.nonce}, Folder)
    data = [*shipment.release.document.get("data", {})]
    paths = [file.path for file in shipment.release.files]
    with session.phase("ship"):
        _rsync(shipment, [path for path in paths if not below(path, data)], checksum=False)
        # Never beside what programs write to, where the last release leads.
        if seeds := [path for path in paths if below(path, data)]:
            _rsync(shipment, seeds, checksum=True)


def _rsync(shipment: Shipment, paths: list[str], *, checksum: bool) -> None:
    session = shipment.session
    current = "" if checksum else shipment.plan.current
    with room_given_back(session, shipment.folder):
        session.connection.rsync(
            session.deployment.loaded.root,
            paths,
            shipment.folder,
            link_dest=[shipment.layout.release(current)] if current else [],
            checksum=checksum,
            chmod=_CHMOD,
            on_progress=progress(shipment, "ship", ""),
        )


@contextlib.contextmanager
def room_given_back(session: HostConversation, folder: str) -> Iterator[None]:
    """What is sent into `folder` there is kept where it is cut off, to be gone on with; not where it fills the disk."""
    try:
        yield
    except NoRoom as full:
        session.conversation.ask({"op": "discard", "folder": folder}, Done)
        raise NoRoom(
            full.what,
            why=f"What had arrived in {folder} was removed again.",
            next_step=full.next_step,
            host=full.host,
            details=full.details,
        ) from None


def ship_engines(shipment: Shipment) -> None:
    """Bring the engine that the host lacks, in the wheel made for it; the host says which before any is sent."""
    session, engine = shipment.session, wheel()
    if engine.id not in shipment.plan.engines:
        return
    wheels = engine.document()["wheels"]
    with session.phase("engine"):
        asked = session.conversation.ask({"op": "incoming-engine", "engine": engine.id, "wheels": wheels}, EngineFolder)
        if not asked["have"]:
            file = engine.fetch(asked["machine"], session.deployment.on_event)
            _wheels(shipment, [file], asked["folder"], "engine")
        session.conversation.ask(
            {
                "op": "adopt-engine",
                "engine": engine.id,
                "wheels": wheels,
                "program": engine.program,
                "version": engine.version,
            },
            Present,
        )


def ship_haproxy(shipment: Shipment) -> None:
    """Bring the HAProxy that the host lacks, in the wheel made for it."""
    if not shipment.plan.haproxy:
        return
    session, pinned = shipment.session, haproxy.wheels()
    with session.phase("haproxy"):
        asked = session.conversation.ask({"op": "incoming-haproxy", "haproxy": pinned}, HaproxyFolder)
        file = haproxy.wheel(asked["machine"], session.deployment.on_event)
        _wheels(shipment, [file], asked["folder"], "haproxy")
        session.conversation.ask({"op": "adopt-haproxy", "haproxy": pinned}, Present)


def ship_environment(shipment: Shipment) -> None:
    """Have the host make the environment that it lacks, with uv and, where that is said, packages from here."""
    deployment, environment = shipment.session.deployment, shipment.release.document.get("environment")
    python = deployment.loaded.project.python
    if not (shipment.plan.environments and environment and python):
        return
    from provision import uv
    from provision.release import lock
    from provision.release.wheels import collected

    session, root, pinned = shipment.session, deployment.loaded.root, uv.wheels()
    with session.phase("environment"):
        asked = session.conversation.ask({"op": "incoming-environment", "uv": pinned}, EnvironmentFolder)
        if not asked["have"]:
            _wheels(shipment, [uv.wheel(asked["machine"], deployment.on_event)], asked["folder"], "environment")
        request: BuildEnvironment = {
            "op": "build-environment",
            "uv": pinned,
            "environment": environment,
            "lock": lock.read(python, root).requirements,
            "shipped": python.wheels == "ship",
            "variables": deployment.for_uv,
            "secrets": list(python.secrets),
        }
        if request["shipped"]:
            found = session.conversation.ask({**request, "op": "find-python"}, PythonFound)
            _wheels(shipment, collected(request["lock"], found, deployment.for_uv), asked["folder"], "environment")
        session.conversation.ask(request, Present, interrupt=shipment.interrupt)


def _wheels(shipment: Shipment, files: Sequence[Path], folder: str, phase: str) -> None:
    session = shipment.session
    by_folder = {file.parent for file in files}
    with room_given_back(session, folder):
        for parent in by_folder:
            session.connection.rsync(
                parent,
                [file.name for file in files if file.parent == parent],
                folder,
                chmod="Fu=rw,Fgo=r",
                on_progress=progress(shipment, phase, files[0].name if len(files) == 1 else ""),
            )


def progress(shipment: Shipment, phase: str, file: str) -> Callable[[RsyncProgress], None]:
    """Tell how far rsync is; Ctrl-C ends it here, where nothing was disturbed yet."""
    session = shipment.session
    told_at, told = 0.0, -1

    def tell(progress: RsyncProgress) -> None:
        nonlocal told_at, told
        shipment.stop_if_asked()
        now = time.monotonic()
        if progress.bytes_done == told or (progress.percent < 100 and now - told_at < _TELL_SECONDS):
            return
        told_at, told = now, progress.bytes_done
        session.deployment.on_event(
            {
                "event": "progress",
                "host": session.spec.name,
                "phase": phase,
                "file": file,
                "done": progress.bytes_done,
                "total": progress.bytes_done * 100 // progress.percent if progress.percent else 0,
                "unit": "bytes",
            }
        )

    return tell

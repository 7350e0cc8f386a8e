"""The file of a front: judged by HAProxy, and its ports looked at, before it is in place."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import tempfile
from typing import Iterable

from ...contract.failure import REFUSED, Failure
from .. import files
from .binds import listening, path_of
from .values import Certificate, Front

NAME = "haproxy.cfg"
_JUDGE_SECONDS = 60.0
_SAID = 2000  # of what HAProxy says, its end
_LARGEST = 16 << 20


def read(path: str) -> str:
    """What it says; empty where there is none, or none of ours."""
    try:
        with files.open_plain(path) as stream:
            return stream.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def judge(text: str, haproxy: str, folder: str) -> None:
    """Whether HAProxy takes this configuration, before it is in place.

    Raises:
        Failure: it does not; says what HAProxy said.
    """
    try:
        # Without a name, and so what was written: HAProxy runs with our rights, and others may write to the folder.
        with tempfile.TemporaryFile(dir=folder) as tried:
            tried.write(text.encode())
            tried.flush()
            done = subprocess.run(
                [haproxy, "-c", "-q", "-C", folder, "-f", f"/proc/self/fd/{tried.fileno()}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_JUDGE_SECONDS,
                check=False,
                pass_fds=[tried.fileno()],
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(REFUSED, f"{haproxy} could not judge its configuration.", f"{error}.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")[-_SAID:].strip()
        raise Failure(REFUSED, "HAProxy does not take its new configuration.", said)


def demand_certificates(front: Front) -> None:
    """Each is there.

    Raises:
        Failure: one is not, or may not be read.
    """
    for certificate in _certificates(front):
        for path in filter(None, certificate):
            if not os.path.isfile(path) or not os.access(path, os.R_OK):
                why = "A port of deploy.toml is to speak TLS with it."
                raise Failure(
                    REFUSED, f"{path} is no file here that can be read.", why, "put it there, then: deploy up"
                )


def link(front: Front) -> None:
    """Put certificates with a key apart where HAProxy looks for the two: under one name."""
    for certificate in _certificates(front):
        if certificate.key:
            place = os.path.join(front.folder, path_of(certificate))
            files.point(place, certificate.chain)
            files.point(f"{place}.key", certificate.key)


def trust(front: Front) -> None:
    """Put the certificates that are believed where HAProxy reads them with its next start."""
    for backend in front.backends:
        for server in backend.servers:
            if server.peer:
                files.write_if_other(os.path.join(front.folder, server.peer.trusted), server.peer.certificates, 0o600)


def open_to_worker(front: Front) -> None:
    """Let whom it becomes through to its sockets, which are that account's own; all else there stays root's."""
    if front.user:
        os.chown(front.folder, -1, grp.getgrnam(front.group).gr_gid)
        os.chmod(front.folder, 0o710)


def _certificates(front: Front) -> Iterable[Certificate]:
    return sorted({each for bind in front.binds for each in bind.certificates})


def demand_free(front: Front, before: str) -> None:
    """Nobody else may have a port that is new: HAProxy would stop listening at all of them while it tries to have it.

    Raises:
        Failure: somebody has.
    """
    had = [line for line in before.splitlines() if line.startswith("  bind ")]
    ports = {line.split()[1].rpartition(":")[2] for line in had}
    for bind in front.binds:
        if not bind.own or f"  bind {listening(bind)}" in had:
            continue
        wide = {"*": "0.0.0.0"}.get(bind.address, bind.address)  # noqa: S104 (what was declared)
        with socket.socket(socket.AF_INET6 if ":" in wide else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # HAProxy's own, at another address, which it shares with its successor; or that of one which leaves it.
            if bind.together or str(bind.port) in ports:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                probe.bind((wide, bind.port))
            except OSError as error:
                what = f"The front cannot listen at port {bind.port}."
                raise Failure(REFUSED, what, f"{error.strerror}.", next_step="deploy status") from error

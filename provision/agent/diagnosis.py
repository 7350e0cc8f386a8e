"""Why a program could not be proven, as far as its log and the kernel tell: what is said of it, and what to do."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, List, Sequence, Set, Tuple

from ..contract.failure import Failure
from . import listeners

if TYPE_CHECKING:
    from ..contract.release import ServiceDocument

_LONGEST = 120  # characters of a name that a log has

# What sh says where it can't become a program: dash, bash and busybox, each in its way. The service may say it as well:
# so it is no name that means more than itself where somebody types it.
_NOT_STARTED = re.compile(
    r"exec: (?:line \d+: )?([\w./@+-]{1,120}): (not found|No such file|Permission denied|cannot execute)"
)
_NO_MODULE = re.compile(r"No module named '?([\w.]{1,120})'?")
_NO_FILE = re.compile(r"can't open file '([^']{1,4000})'")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|record layer failure")


def of_end(failed: Failure, service: ServiceDocument, folder: str) -> Failure:
    """A failure of a program that ended, with what its log tells of why."""
    why, step = _end(failed.details.get("log", []), service["name"], folder)
    if not why and "exited with status 0" in failed.what and "background" not in failed.what:
        step = (
            f"a service stays in the foreground; if it has an end, say on_demand = true in services.{service['name']}"
        )
    return Failure(failed.kind, f"{failed.what}: {why}" if why else failed.what, "", step, **failed.details)


def _end(log: Sequence[str], name: str, folder: str) -> Tuple[str, str]:
    command = f"services.{name}.command"
    for line in reversed(log):
        if found := _NOT_STARTED.search(line):
            return _not_started(found[1], found[2], name, folder)
        if found := _NO_MODULE.search(line):
            step = "let the project's environment bring it, or install it on the host; then deploy up"
            return f"its Python has no module {found[1]}", step
        if found := _NO_FILE.search(line):
            path = os.path.relpath(found[1], folder) if found[1].startswith(f"{folder}/") else found[1]
            return (
                f"there is no {path[:_LONGEST]} in the release",
                f"correct {command}; deploy plan says what is shipped",
            )
    return "", ""


def _not_started(program: str, said: str, name: str, folder: str) -> Tuple[str, str]:
    command = f"services.{name}.command"
    if said in ("Permission denied", "cannot execute"):
        return f"{program} may not be executed", f"chmod +x {program}, then deploy up"
    if "/" not in program:
        return f"no program on the host is called {program}", f"correct {command}, or install {program} there"
    try:
        first = _first_line(os.path.join(folder, program))
    except OSError:
        where = "on the host" if program.startswith("/") else "in the release"
        return f"there is no {program} {where}", f"correct {command}; deploy plan says what is shipped"
    if not first.startswith(b"#!"):
        return f"{program} is for another machine, or another C library", "build it for this host"
    if first.rstrip(b"\n").endswith(b"\r"):
        return f"the lines of {program} end as on Windows", f"save it with Unix line ends (dos2unix {program})"
    interpreter = first[2:].decode("utf-8", "replace").split()
    return (
        f"{program} wants {interpreter[0] if interpreter else 'nothing'}, which is not on the host",
        "install that there",
    )


def _first_line(path: str) -> bytes:
    """Of a file alone: a pipe would be waited for without an end.

    Raises:
        OSError: there is none.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise FileNotFoundError(path)
        return stream.readline(256)


def listening(members: Set[int]) -> List[int]:
    """The ports on which these processes listen."""
    held = listeners.sockets_of(members)
    return sorted(port for port, inodes in listeners.listening_inodes().items() if inodes & held)


def of_listener(what: str, port: int, members: Set[int], service: ServiceDocument) -> Tuple[str, str]:
    """What is said of a program that does not listen where it should, and what to do."""
    name, elsewhere = service["name"], [each for each in listening(members) if each not in service["ports"]]
    if elsewhere:
        ports = " and ".join(map(str, elsewhere[:3]))
        step = f'give it "${{port}}" in its command or env, which is {port} here; or correct services.{name}.port'
        return f"{what}; it listens on {ports}", step
    return what, f"if it needs longer, give its check in services.{name} a longer timeout"


def of_check(said: str, name: str) -> str:
    """What to do where a check's last attempt said that."""
    if found := re.match(r"HTTP (3\d\d) to (\S+)", said):
        return f"let the check of services.{name} ask for what it leads to, or let that pass: status = [{found[1]}]"
    if said.startswith("HTTP 404"):
        return f"correct the path in the check of services.{name}: it answers, but has nothing there"
    if said.startswith(("HTTP 401", "HTTP 403")):
        return f'name the secret that it asks for: token = "NAME" in the check of services.{name}'
    if _NO_TLS.search(said):
        return f"it speaks HTTP there, and no TLS: write http:// in the check of services.{name}"
    return ""

"""Whether somebody uses a rented machine: requests, a deploy, GPUs, work that a command of the project's tells of."""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import shutil
import socket
import struct
import subprocess
from typing import Any, Dict, List, Optional, Tuple, Union

from ..trust import fault

_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_OUTGOING = 4
_MOST_PORTS = 64  # as many as providers give; a jump of the filter reaches no farther than 255 steps
_SECONDS = 30.0  # for a program that is asked

# Classic BPF (linux/bpf_common.h), as it is used here.
_LOAD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # absolute
_LOAD_HALF_X, _LOAD_BYTE_X = 0x48, 0x50  # relative to X
_FROM_MEMORY, _TO_MEMORY = 0x60, 0x02
_X_HEADER = 0xB1  # X = 4 * (byte & 0xf)
_TO_X = 0x07
_IMMEDIATE, _AND, _RIGHT, _ADD_X, _MINUS_X = 0x00, 0x54, 0x74, 0x0C, 0x1C
_IS, _HAS, _ABOVE_X, _JUMP = 0x15, 0x45, 0x2D, 0x05
_RETURN = 0x06
_Step = Union[str, Tuple[int, int], Tuple[int, int, str, str]]  # a label; an instruction; one that jumps


def data_at(ports: List[int]) -> bytes:
    """The kernel's filter for TCP segments with data to one of the machine's `ports`, or from there.

    A connection alone is no request: whoever looks for open ports makes one.
    """
    steps: List[_Step] = [
        (_LOAD_BYTE, _PACKET_TYPE),
        (_IS, _OUTGOING, "out", "in"),
        "out",
        (_IMMEDIATE, 0),  # of a segment that leaves, the first port is ours
        (_JUMP, 0, "version", ""),
        "in",
        (_IMMEDIATE, 2),
        "version",
        (_TO_MEMORY, 0),
        (_LOAD_BYTE, 0),
        (_RIGHT, 4),
        (_IS, 6, "6", ""),
        (_IS, 4, "", "no"),
        (_LOAD_BYTE, 9),
        (_IS, socket.IPPROTO_TCP, "", "no"),
        (_LOAD_HALF, 6),
        (_HAS, 0x1FFF, "no", ""),  # a later fragment has no ports
        (_X_HEADER, 0),
        (_LOAD_HALF, 2),
        (_MINUS_X, 0),
        (_TO_MEMORY, 1),  # bytes with TCP's header
        (_LOAD_BYTE_X, 12),
        (_TO_MEMORY, 2),
        (_FROM_MEMORY, 0),
        (_ADD_X, 0),
        (_TO_X, 0),
        (_LOAD_HALF_X, 0),
        (_JUMP, 0, "both", ""),
        "6",
        (_LOAD_BYTE, 6),
        (_IS, socket.IPPROTO_TCP, "", "no"),
        (_LOAD_HALF, 4),
        (_TO_MEMORY, 1),
        (_LOAD_BYTE, 52),
        (_TO_MEMORY, 2),
        (_FROM_MEMORY, 0),
        (_TO_X, 0),
        (_LOAD_HALF_X, 40),
        "both",
        (_TO_MEMORY, 3),
        (_FROM_MEMORY, 2),
        (_AND, 0xF0),
        (_RIGHT, 2),
        (_TO_X, 0),
        (_FROM_MEMORY, 1),
        (_ABOVE_X, 0, "", "no"),
        (_FROM_MEMORY, 3),
        *((_IS, port, "yes", "") for port in ports),
        "no",
        (_RETURN, 0),
        "yes",
        (_RETURN, 1),
    ]
    labels: Dict[str, int] = {}
    code: List[Any] = []
    for step in steps:
        if isinstance(step, str):
            labels[step] = len(code)
        else:
            code.append(step)
    program = b""
    for at, (what, value, *where) in enumerate(code):
        true, false = (labels[each] - at - 1 if each else 0 for each in where) if where else (0, 0)
        program += struct.pack("=HBBI", what, *((0, 0, true) if what == _JUMP else (true, false, value)))
    return program


class Requests:
    """Data that comes to one of `ports` or leaves there (packet(7)): also of requests that are over in a moment."""

    def __init__(self, ports: List[int]) -> None:
        self.ports = ports
        self._socket: Optional[socket.socket] = None
        filter_ = data_at(ports[:_MOST_PORTS])
        kept = ctypes.create_string_buffer(filter_)
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            program = struct.pack("HP", len(filter_) // 8, ctypes.addressof(kept))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # one is as good as a thousand
            self._bind()
        except OSError:
            self.close()

    def _bind(self) -> None:
        """Hear all devices, which has no name that Python's bind would take."""
        assert self._socket is not None  # noqa: S101
        address = struct.pack("=HHi12x", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.bind(self._socket.fileno(), address, len(address)) != 0:
            raise OSError(ctypes.get_errno(), "bind")

    @property
    def seen(self) -> bool:
        """Whether there was any since this was asked last; where packets can't be seen, whether somebody is there."""
        if self._socket is None:
            return _connected(self.ports)
        found = False
        try:
            for _ in range(1000):
                self._socket.recv(1)
                found = True
        except OSError:
            pass  # no more
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(ports: List[int]) -> bool:
    """Whether anybody is connected to one of the ports (proc(5), /proc/net/tcp)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii", errors="replace") as stream:
                for line in stream:
                    fields = line.split()
                    if fields[3] == "01" and int(fields[1].rpartition(":")[2], 16) in ports:
                        return True
        except OSError:
            pass
    return False


def traffic() -> Tuple[int, int]:
    """Bytes that the machine has received and sent, as its devices count them (proc(5), /proc/net/dev)."""
    received = sent = 0
    try:
        with open("/proc/net/dev", encoding="ascii", errors="replace") as stream:
            for line in stream:
                device, colon, told = line.partition(":")
                if colon and device.strip() != "lo":
                    fields = told.split()
                    received, sent = received + int(fields[0]), sent + int(fields[8])
    except OSError:
        pass
    return received, sent


def deploys(path: str) -> bool:
    """Whether somebody brings a release to a project in `path`, or to a preview beside it."""
    for place in [path, *glob.glob(glob.escape(path) + ".previews/*")]:
        for lock in glob.glob(glob.escape(place) + "/.deploy/locks/*"):
            try:
                descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
    return False


def computes() -> bool:
    """Whether a GPU computes now, as NVIDIA's own program tells."""
    program = shutil.which("nvidia-smi", path=os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/usr/sbin")
    if program is None:
        return False
    words = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(word.isdigit() and int(word) > 0 for word in done.stdout.decode("ascii", "replace").split())


def has_work(command: List[str], path: str) -> bool:
    """Whether the project's own command says that there is work. One that can't be asked leaves the machine on."""
    release = os.path.realpath(os.path.join(path, "stable"))
    if not command or not os.path.isdir(release):  # before the first deploy there is nothing to ask
        return False
    nothing = subprocess.DEVNULL
    try:
        if fault(release):
            return True
        done = subprocess.run(
            command, cwd=release, stdin=nothing, stdout=nothing, stderr=nothing, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode == 0

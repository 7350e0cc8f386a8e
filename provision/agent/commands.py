"""Commands that the agent runs, bounded in time and in what is kept of their output.

Tools of the system (`systemctl`, `nvidia-smi`) are asked: they start nothing that stays, and some are asked many times
a second. What a project brings, a prepare step or a check, is run by `reaper`, which ends whatever descends from it.

No wait goes by the end of a pipe: whoever inherited that may keep it open for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from . import reaper

if TYPE_CHECKING:
    from .reaped import Asked, News

OUTPUT_KEPT = 4 << 20  # bytes, the last ones
_BLOCK = 1 << 16
_POLL = 0.05
_END_SECONDS = 10.0  # what the reaper takes to end everything, and a little more


class Ended(NamedTuple):
    """What became of a command."""

    status: int  # negative for a signal
    output: bytes = b""
    errors: bytes = b""  # where they were asked for apart
    late: bool = False  # its time was over
    ended: int = 0  # processes that it left behind, and that were ended
    left: int = 0  # those that could not be


def ask(
    argv: Sequence[str],
    seconds: float,
    *,
    apart: bool = False,
    cwd: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
) -> Ended:
    """Run a tool of the system.

    Args:
        apart: keep standard error by itself.
        env: instead of our own environment.

    Raises:
        OSError, subprocess.TimeoutExpired: it does not start, or does not end; then its process group is killed.
    """
    errors = subprocess.PIPE if apart else subprocess.STDOUT
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    )
    streams = [stream for stream in (process.stdout, process.stderr) if stream]
    said = {stream.fileno(): b"" for stream in streams}
    out = streams[0].fileno()
    until = time.monotonic() + seconds
    try:
        _read_while(process, said, until)
        status = process.wait(max(0.0, until - time.monotonic()))
    except BaseException:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        raise
    finally:
        for stream in streams:
            stream.close()
    return Ended(status, said.pop(out), b"".join(said.values()))


def _read_while(process: subprocess.Popen[bytes], said: Dict[int, bytes], until: float) -> None:
    """Read what it says until it closes that or has ended, for as long as there is time."""
    open_ = list(said)
    while open_ and time.monotonic() < until:
        has_ended = process.poll() is not None
        ready, _, _ = select.select(open_, [], [], 0 if has_ended else _POLL)
        for descriptor in ready:
            block = os.read(descriptor, _BLOCK)
            if not block:
                open_.remove(descriptor)
            said[descriptor] = (said[descriptor] + block)[-OUTPUT_KEPT:]
        if has_ended and not ready:
            return


def run(
    argv: Sequence[str],
    seconds: float,
    *,
    cwd: str,
    env: Optional[Mapping[str, str]] = None,
    tell: Optional[Callable[[bytes], None]] = None,
    stop: Callable[[], None] = lambda: None,
    hold: Sequence[int] = (),
) -> Ended:
    """Run what a project brings, and end all that it started with it, if we die as well.

    Args:
        env: instead of our own environment.
        tell: given what it says, piece by piece; may raise. Without it the last of that is in the result.
        stop: called now and then; may raise, and then the command is ended.
        hold: descriptors that stay open until the last of its processes has ended.

    Raises:
        OSError: it does not start, or what runs it fails.
    """
    kept = _Kept()
    source = str(reaper.__spec__.loader.get_source(reaper.__name__))  # type: ignore[union-attr]
    with _pipe() as (told, teller), tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,  # its own: the command's go where its output goes
            pass_fds=[teller, *hold],
            start_new_session=True,
            bufsize=0,
        )
        os.close(teller)
        request: Asked = {
            "argv": list(argv),
            "cwd": cwd,
            "env": dict(os.environ if env is None else env),
            "seconds": seconds,
            "tell": teller,
            "hold": list(hold),
        }
        facts: News = {}
        try:
            with contextlib.suppress(BrokenPipeError):  # it says nothing, then
                _write(process, request)
            for line in _follow(process, told, tell or kept, stop, seconds + _END_SECONDS):
                facts.update(json.loads(line))
        finally:
            _let_go(process, facts)
        if not facts:
            complaints.seek(0)
            said = complaints.read(_BLOCK).decode("utf-8", "replace").split("\n")
            why = [line.strip() for line in said if line.strip()] or [
                f"its runner ended with status {process.returncode}"
            ]
            raise OSError(f"{argv[0]} could not be run on this host: {why[-1]}")
    if facts.get("error"):
        raise OSError(facts["error"], os.strerror(facts["error"]), argv[0])
    # Who killed the reaper has killed the command, too.
    status = facts.get("status")
    return Ended(
        -signal.SIGKILL if status is None else status,
        kept.content,
        late=facts.get("late", False),
        ended=facts.get("ended", 0),
        left=facts.get("left", 0),
    )


class _Kept:
    def __init__(self) -> None:
        self.content = b""

    def __call__(self, block: bytes) -> None:
        self.content = (self.content + block)[-_BLOCK:]


@contextlib.contextmanager
def _pipe() -> Iterator[List[int]]:
    read, write = os.pipe()
    try:
        yield [read, write]
    finally:
        os.close(read)


def _write(process: subprocess.Popen[bytes], request: Asked) -> None:
    assert process.stdin is not None  # noqa: S101  for mypy
    view = memoryview((json.dumps(request) + "\n").encode())
    while view:
        view = view[process.stdin.write(view) or 0 :]


def _follow(
    process: subprocess.Popen[bytes],
    told: int,
    tell: Callable[[bytes], None],
    stop: Callable[[], None],
    seconds: float,
) -> Iterator[bytes]:
    """What the reaper says, up to its last word; on the way, `tell` what the command says."""
    assert process.stdout is not None  # noqa: S101  for mypy
    out = process.stdout.fileno()
    until = time.monotonic() + seconds
    reading, words, last = [out, told], b"", False
    while time.monotonic() < until:
        stop()
        ready, _, _ = select.select(reading, [], [], 0 if last else _POLL)
        if out in ready:
            block = os.read(out, _BLOCK)
            if block:
                tell(block)
            else:
                reading.remove(out)
        elif last:  # and nothing of its output is left
            return
        if told in ready:
            block = os.read(told, _BLOCK)
            if not block:
                reading.remove(told)
                last = True
            words += block
            *lines, words = words.split(b"\n")
            yield from lines


def _let_go(process: subprocess.Popen[bytes], facts: News) -> None:
    """End what still runs: the reaper does at the end of its input."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101  for mypy
    process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_SECONDS)
    process.stdout.close()
    if "pid" in facts and "left" not in facts:  # somebody killed the reaper
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and os.getsid(int(name)) == facts["pid"]:
                    os.kill(int(name), signal.SIGKILL)

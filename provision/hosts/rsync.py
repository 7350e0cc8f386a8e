"""rsync over the connection that is already there: no second handshake and no second decision whom to trust.

rsync starts a helper in place of ssh, which hands its pipes over (`rsync_bridge`). File names go over the protocol
(`--secluded-args`), so that no shell on either side reads them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.contract.names import PARTIAL
from provision.errors import DeployError, Interrupted, NoRoom, Unreachable, UsageError
from provision.hosts.rsync_bridge import Bridge, Sessions
from provision.hosts.rsync_output import OutputReader, RsyncProgress, RsyncStats
from provision.packages import install

_HELPER = Path(__file__).with_name("_rsync_helper.py")
_STALLED_SECONDS = 120  # rsync's own time-out for silence on the line
_LAST_WORDS_SECONDS = 10
_COMMAND_NOT_FOUND = 127
_SYNTAX = 1  # rsync(1), "Exit values": syntax or usage error
# strerror(3) of ENOSPC, which also means that no inode is free, and of EDQUOT; in the C locale, as rsync is run.
_FULL = {
    "No space left on device": "the host's disk filled up",
    "Disk quota exceeded": "this account's share of the host's disk was used up",
}


@dataclass(frozen=True)
class Options:
    """How files are compared and kept; `HostConnection.rsync` names the same."""

    link_dest: tuple[str, ...] = ()
    checksum: bool = False
    partial: bool = True
    in_place: bool = False
    follow_links: bool = False
    chmod: str | None = None
    limit: int = 0  # bytes a second; 0 for none


def send(
    connection: Sessions,
    source: Path,
    files: Sequence[str],
    destination: str,
    options: Options,
    on_progress: Callable[[RsyncProgress], None] | None = None,
) -> RsyncStats:
    """Bring `files` (names relative to `source`) into the folder `destination` of the host.

    Modes, times and symbolic links are kept, owners are not; `options` may have links followed. A file that is equal
    under one of `link_dest` (relative to `destination`, or absolute) is hard-linked from there. What a cut transfer
    leaves is used by the next one.

    Raises:
        UsageError: rsync is not installed here.
        DeployError: rsync is not installed on the host, or failed there; its words are in `why`.
        NoRoom: the host's disk, or this account's share of it, is full.
        Unreachable: the connection broke.
        Interrupted: Ctrl-C ended rsync.
    """
    program = shutil.which("rsync")
    if program is None:
        raise UsageError(
            "rsync is not installed on this machine",
            why="It is what brings files to hosts.",
            next_step=install("rsync"),
        )
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _start(program, theirs, source, destination, options)
        bridge = Bridge(connection, ours)
        reader = OutputReader(on_progress)
        threads = [
            threading.Thread(target=_write_names, args=(process, files), daemon=True),
            threading.Thread(target=reader.read_errors, args=(process.stderr,), daemon=True),
            threading.Thread(target=bridge.run, daemon=True, name=f"rsync to {connection.name}"),
        ]
        for thread in threads:
            thread.start()
        try:
            reader.read_output(process.stdout)
            status = process.wait()
            for thread in threads[1:]:
                thread.join(_LAST_WORDS_SECONDS)  # rsync may end before it is known how its other half did
        finally:
            bridge.close()
            _end(process)
    if status != 0:
        raise _failure(connection, program, status, bridge, reader)
    return reader.stats


def command_line(program: str, socket_number: int, source: Path, destination: str, options: Options) -> list[str]:
    """The local rsync command. Pure."""
    helper = [sys.executable, "-I", "-S", str(_HELPER), str(socket_number)]
    return [
        program,
        "--copy-links" if options.follow_links else "--links",
        "--perms",
        "--times",
        "-s",  # --protect-args, called --secluded-args since 3.2.6
        "--files-from=-",
        "--from0",
        f"--timeout={_STALLED_SECONDS}",
        *(_kept(options)),
        *(["--checksum"] if options.checksum else []),
        *([f"--bwlimit={max(1, options.limit >> 10)}"] if options.limit else []),  # KiB
        *([f"--chmod={options.chmod}"] if options.chmod else []),
        *(f"--link-dest={folder}" for folder in options.link_dest),
        "--info=progress2,stats2",
        "--no-human-readable",
        "--outbuf=None",
        f"--rsh={' '.join(_rsh_quoted(word) for word in helper)}",
        f"{source}/",
        f"host:{destination}/",
    ]


def _kept(options: Options) -> list[str]:
    """How what has arrived outlives a cut. In place, going on needs no room for a second copy."""
    if options.in_place:
        return ["--inplace"]
    return [f"--partial-dir={PARTIAL}"] if options.partial else []


def _rsh_quoted(word: str) -> str:
    """rsync splits `--rsh` at spaces and knows quotes without escapes: a quote is doubled inside its like."""
    return "'" + word.replace("'", "''") + "'"


def _start(
    program: str, helper_end: socket.socket, source: Path, destination: str, options: Options
) -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C reaches this process alone, which then ends rsync and its helper together.
    return subprocess.Popen(
        command_line(program, helper_end.fileno(), source, destination, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[helper_end.fileno()],
        process_group=0,
        env={name: value for name, value in os.environ.items() if not name.startswith("RSYNC_")} | {"LC_ALL": "C"},
    )


def _write_names(process: subprocess.Popen[bytes], files: Sequence[str]) -> None:
    assert process.stdin is not None  # noqa: S101  # for the type checker
    try:
        # "./": a name that begins with "#" or ";" would be a comment
        process.stdin.write(b"".join(b"./" + os.fsencode(name) + b"\0" for name in sorted(files)))
        process.stdin.close()
    except BrokenPipeError:
        return  # rsync ended early and says why


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, 15)
            process.wait(2)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        except ProcessLookupError:
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def _failure(connection: Sessions, program: str, status: int, bridge: Bridge, reader: OutputReader) -> DeployError:
    if status == -signal.SIGINT:  # Ctrl-C in the moment before it had a group of its own
        return Interrupted(
            "interrupted while shipping; nothing was disturbed.",
            next_step="run the same command again",
            host=connection.name,
        )
    if status == _SYNTAX:
        return _too_old(program, reader.errors())
    if not connection.is_open:
        return Unreachable(
            "the connection broke while files were sent",
            why="What has arrived is kept and will be used.",
            next_step="run the same command again",
            host=connection.name,
        )
    if bridge.error is not None:
        return bridge.error
    if _COMMAND_NOT_FOUND in (status, bridge.status):
        return DeployError(
            "rsync is not installed on the host",
            why="It is what brings files there.",
            next_step=f"deploy host bootstrap {connection.name}",
            host=connection.name,
        )
    why = " ".join((*bridge.said.decode(errors="replace").split("\n"), reader.errors())).strip()
    for words, what in _FULL.items():
        if words in why:
            return NoRoom(
                f"{what} while files were sent; nothing that runs was disturbed.",
                next_step="make room there, then run the same command again",
                host=connection.name,
                details={"rsync": why},
            )
    return DeployError(f"rsync failed (exit {status})", why=why, host=connection.name)


def _too_old(program: str, said: str) -> UsageError:
    """macOS has an rsync of 2006, or one that is none: openrsync."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False)
    version = (told.stdout or told.stderr).strip().partition("\n")[0]
    return UsageError(
        f"{program} is not the rsync that is needed: version 3.1 or newer",
        why=f"It is {version or 'one that tells no version'}, and says: {said}",
        next_step=install("rsync"),
    )

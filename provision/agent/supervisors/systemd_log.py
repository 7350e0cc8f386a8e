"""What a unit has written, as journald has it: the last lines, or those since a moment."""

from __future__ import annotations

import json
import subprocess
from typing import List, Optional, Sequence

from .. import commands

_SECONDS = 15.0


def tail(unit: Sequence[str], lines: int, since: Optional[float]) -> bytes:
    """The last lines of it; nothing where the journal can't be asked.

    Args:
        unit: the option that names it, and its name.
        since: in seconds since 1970; None for any time.
    """
    how = ["-o", "cat"]
    if since is not None:
        # With --since, systemd 252 takes the first lines and not the last, unless it goes backwards; and only as
        # JSON it shows where one that goes backwards ends.
        how = ["-o", "json", "--output-fields=MESSAGE", "--all", "--reverse", f"--since=@{since:.3f}"]
    command = ["journalctl", "--no-pager", "--quiet", *how, "-n", str(lines), *unit]
    try:
        said = commands.ask(command, _SECONDS, apart=True).output
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return said if since is None else b"".join(_messages(said)[::-1])


def _messages(output: bytes) -> List[bytes]:
    """What was said, of each entry of `journalctl -o json`: a text, or bytes where it is none."""
    found = []
    for line in output.splitlines():
        try:
            message = json.loads(line)["MESSAGE"]
            said = bytes(message) if isinstance(message, list) else message.encode("utf-8", "surrogatepass")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the first one may be cut
        found.append(said + b"\n")
    return found

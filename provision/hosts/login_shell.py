"""A command's way through an account's login shell, whichever that is and whatever its start-up files do.

sshd hands a command to the login shell as one text (sshd(8), "LOGIN PROCESS"). Shells agree on little: csh ends a
quoted word at a newline and reads `!` inside of quotes, fish reads backslashes there. So the shell sees one line, of
what all of them read alike, and is replaced by sh, which unfolds the command. The first that sh says, on both streams,
is a mark; what comes before it is said by the start-up files.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from provision.errors import Unreachable

MARK = b"\x1edeploy\x1e"
PATIENCE_SECONDS = 60.0  # from the start of a session to its mark
_MOST_BYTES = 1 << 20  # before the mark
_KEPT = 4096  # bytes, of what is told where no mark comes
_WORDS = 300  # characters of it
_SAY_MARK = r"printf '\036deploy\036';"
_SAY_MARK_TWICE = _SAY_MARK + r"printf '\036deploy\036'>&2;"
# The rest is written as printf(1) has it: backslash and three octal digits.
_FOLDED = re.compile(rb"[^A-Za-z0-9 _@+=:,./;-]")


def line(argv: Sequence[str], *, terminal: bool = False) -> str:
    """What the login shell is given, so that `argv` is run, word for word.

    Args:
        terminal: both streams are one.
    """
    return folded((_SAY_MARK if terminal else _SAY_MARK_TWICE) + "exec " + shlex.join(argv))


def folded(text: str) -> str:
    """What the login shell is given, so that sh runs a script, which may be of several lines."""
    script = os.fsencode(text)
    folded = _FOLDED.sub(lambda found: b"%%" if found[0] == b"%" else b"\\%03o" % found[0][0], script)
    return f'exec sh -c \'eval "$(printf "{folded.decode()}")"\''


class Opening:
    """What one stream of a session says before its mark."""

    def __init__(self) -> None:
        self.is_over = False
        self._said = bytearray()
        self._size = 0

    def skip(self, data: bytes) -> bytes:
        """What of `data` comes after the mark."""
        if self.is_over:
            return data
        self._size += len(data)
        self._said += data
        before, mark, after = self._said.partition(MARK)
        self.is_over = bool(mark)
        self._said = before[-_KEPT:]
        return bytes(after)

    @property
    def is_endless(self) -> bool:
        """Whether so much came that no mark is expected any more."""
        return self._size > _MOST_BYTES

    @property
    def words(self) -> str:
        """The last of it, on one line."""
        return " ".join(self._said.decode(errors="replace").split())[-_WORDS:]


def lost(host: str, openings: Sequence[Opening], *, ended: bool, status: int = -1) -> Unreachable:
    """Why a command was never begun, in the words of the shell that should have.

    Args:
        ended: whether the shell has; otherwise it went on for too long.
        status: its exit status, where that is known.
    """
    words = " ".join(opening.words for opening in openings if opening.words)
    said = f"It said: {words}" if words else "It said nothing."
    if not ended:
        return Unreachable(
            f"its login shell did not begin what was asked in {PATIENCE_SECONDS:.0f} s or {_MOST_BYTES} bytes.",
            why=said,
            next_step="look at the start-up files of that account's shell (~/.bashrc and the like)",
            host=host,
        )
    if re.search(r"tmux|screen|not a terminal|not a tty", words):
        next_step = (
            "keep its start-up files from starting tmux where there is no terminal; on Vast.ai, in a terminal there: "
            "touch ~/.no_auto_tmux"
        )
    elif "not available" in words:
        next_step = "log in as an account that has a shell: USER@HOST in hosts"
    else:
        next_step = "see that nothing ends that shell early: `exit` in ~/.bashrc, nologin, ForceCommand of its sshd"
    exited = f" (exit {status})" if status >= 0 else ""
    return Unreachable(
        f"its login shell ended without running what was asked{exited}.", why=said, next_step=next_step, host=host
    )

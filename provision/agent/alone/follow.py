"""Follows the logs of several programs at once, until nobody listens any more.

Its first line of input, as JSON: `trusted`, a folder that nobody else may be able to change, or empty; `programs`, for
each the words that show what it wrote and go on, and those that go on later where the first have ended: a container
that is made anew has another log. A word `@SINCE@` in them is the time, in seconds since 1970, or `ago` seconds before
now in the first ones. Each line comes back behind the number of its program.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time

from ..trust import fault

_AGAIN_SECONDS = 2.0
_PIECE = 1 << 16  # bytes: a line that is longer comes in pieces


def main() -> int:
    asked = json.loads(sys.stdin.buffer.readline())
    wrong = fault(asked["trusted"]) if asked["trusted"] else None
    if wrong:
        said = f"what lies at {asked['trusted']} can't be trusted: {wrong}."
        sys.stdout.write(json.dumps({"what": said, "next": wrong.remedy}) + "\n")
        return 4
    followed = [_Followed(number, *words) for number, words in enumerate(asked["programs"])]
    with selectors.DefaultSelector() as ready:
        ready.register(0, selectors.EVENT_READ)
        for each in followed:
            each.begin(ready, each.first, time.time() - asked["ago"])
        try:
            while True:
                for key, _ in ready.select(_AGAIN_SECONDS):
                    if key.data is None:
                        if not os.read(0, _PIECE):
                            return 0
                    else:
                        key.data.read(ready)
                for each in followed:
                    if each.process is None and time.time() - each.ended > _AGAIN_SECONDS:
                        each.begin(ready, each.again, each.ended)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python would write at its end goes there
            return 0
        finally:
            for each in followed:
                if each.process is not None:
                    each.process.kill()


class _Followed:
    """One program's log."""

    def __init__(self, number: int, first: list[str], again: list[str]) -> None:
        self.number = number
        self.first = first
        self.again = again
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = 0.0
        self._rest = b""

    def begin(self, ready: selectors.DefaultSelector, words: list[str], since: float) -> None:
        argv = [word.replace("@SINCE@", f"{since:.3f}") for word in words]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert self.process.stdout is not None  # noqa: S101  for mypy
        ready.register(self.process.stdout, selectors.EVENT_READ, self)

    def read(self, ready: selectors.DefaultSelector) -> None:
        assert self.process is not None and self.process.stdout is not None  # noqa: S101  for mypy
        block = os.read(self.process.stdout.fileno(), _PIECE)
        *lines, self._rest = (self._rest + block).split(b"\n")
        if self._rest and (not block or len(self._rest) > _PIECE):
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            sys.stdout.buffer.write(b"%d " % self.number + line + b"\n")
        sys.stdout.buffer.flush()
        if not block:
            ready.unregister(self.process.stdout)
            self.process.stdout.close()
            self.process.kill()
            self.process.wait()
            self.process, self.ended = None, time.time()

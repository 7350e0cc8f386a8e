"""The one place that writes to the terminal.

Three ways to tell the same: JSON Lines on stdout with `--json`; live progress where stderr is a terminal; else plain
lines on stderr. A verb's answer goes to stdout, so that it can be piped. All of it passes `shown` on its way.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from provision.cli.milestones import Milestones
from provision.errors import UsageError
from provision.shown import json_line, shown, shown_event

if TYPE_CHECKING:
    from provision.recorded import Recorder

Event = Mapping[str, Any]

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # ECMA-48, SGR: those that are read on black and on white


class Display(Protocol):
    """How events are shown to people while something runs."""

    def event(self, event: Event) -> None: ...

    def line(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line for each event that is worth one, and none twice."""

    def __init__(self) -> None:
        self._last = ""
        self._milestones = Milestones()

    def event(self, event: Event) -> None:
        text = self._milestones.tell(event)
        if text and text != self._last:
            self._last = text
            self.line(text)

    def line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing stays behind."""


class Console:
    """Tells what happens; safe to use from any thread, and from a signal handler of the main one."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._display: Display = Lines()
        self._colours: dict[str, int] = {}
        self._lock = threading.RLock()
        self._recorder: Recorder | None = None
        self._recorded = Milestones()

    @property
    def is_interactive(self) -> bool:
        """Whether a person is there to answer."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def event(self, event: Event) -> None:
        """Something happened."""
        with self._lock:
            if self._recorder:
                self._recorder.event(event, self._recorded.tell(shown_event(event)) or "")
            if self.as_json:
                _write_json(event)
            else:
                self._display.event(shown_event(event))

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """While this lasts, what happens is written down as well."""
        with self._lock:
            self._recorder, self._recorded = recorder, Milestones()
        try:
            yield
        finally:
            with self._lock:
                self._recorder = None

    def silenced(self) -> Console:
        """One that tells nobody of what happens, and asks the same person."""
        other = _Silent(as_json=self.as_json)
        other.ask = self.ask  # type: ignore[method-assign]
        return other

    def note(self, text: str) -> None:
        """A sentence beside the answer, for people alone."""
        with self._lock:
            if not self.as_json:
                self._display.line(shown(text))

    def answer(self, event: Event, text: str | Iterable[str] = ()) -> None:
        """What the verb was asked for: `event` for programs, `text` for people."""
        with self._lock:
            if self.as_json:
                _write_json(event)
                return
            for line in [text] if isinstance(text, str) else text:
                sys.stdout.write(shown(line) + "\n")
            sys.stdout.flush()

    @contextmanager
    def redrawn(self) -> Iterator[Callable[[str], None]]:
        """Gives a function that shows a text of several lines in place of the one before, where stdout is a terminal
        that can; elsewhere it is written below, unless nothing has changed.
        """
        if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            last = ""

            def write(text: str) -> None:
                nonlocal last
                if text != last:
                    self.answer({}, ["", text] if last else text)
                last = text

            yield write
            return
        from rich.console import Console as RichConsole
        from rich.live import Live
        from rich.text import Text

        with Live(console=RichConsole(highlight=False), auto_refresh=False) as live:
            yield lambda text: live.update(Text(shown(text), no_wrap=True, overflow="ellipsis"), refresh=True)

    def heading(self, text: str) -> None:
        """A line above answers, for people alone."""
        if not self.as_json:
            self.answer({}, text)

    def relay(self, event: Event, line: str, whose: str = "") -> None:
        """A line that is somebody else's and is what the verb was asked for: byte for byte where a program reads it.

        Args:
            line: with `surrogateescape` for what is no UTF-8.
            whose: stands before it, in a colour of its own where a terminal has colours.
        """
        content = line.encode("utf-8", "surrogateescape")
        if self.as_json:
            self.answer({**event, "line": content.decode("utf-8", "replace")})
            return
        before = f"{shown(whose)} | " if whose else ""
        with self._lock:
            if sys.stdout.isatty():
                sys.stdout.write(self._coloured(before) + shown(content.decode("utf-8", "replace")) + "\n")
                sys.stdout.flush()
            else:
                sys.stdout.flush()
                sys.stdout.buffer.write(before.encode() + content + b"\n")
                sys.stdout.buffer.flush()

    def _coloured(self, before: str) -> str:
        """What stands before lines, for a terminal: the first has the first colour, and keeps it."""
        if not before or "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb":
            return before
        colour = self._colours.setdefault(before, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{before}\x1b[0m"

    def ask(self, prompt: str) -> str:
        """A secret that a person types.

        Raises:
            UsageError: nobody is there.
        """
        import click

        prompt = shown(prompt)  # which may be the host's
        if not self.is_interactive:
            raise UsageError(f"{prompt.rstrip(': ')}: nobody is there to type it.", next_step="run it in a terminal")
        with self._lock:
            self.close()
            return str(click.prompt(prompt.rstrip(": "), hide_input=True, err=True))

    def confirm(self, question: str) -> bool:
        """Whether a person says yes; nobody there is a no."""
        import click

        return self.is_interactive and click.confirm(question, err=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show progress in place while this lasts, where the terminal can; within another one, as that one does."""
        if not isinstance(self._display, Lines):
            yield
            return
        if not self.as_json and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            from provision.cli.progress import Progress

            self._display = Progress()
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """End live progress; later events come as plain lines."""
        with self._lock:
            display, self._display = self._display, Lines()
            display.close()


class _Silent(Console):
    """What it is told is heard by nobody."""

    def event(self, event: Event) -> None:
        """Nothing."""


def _write_json(event: Event) -> None:
    sys.stdout.write(json_line(event) + "\n")
    sys.stdout.flush()

"""Live progress on a terminal: a line for each host that has something to do, and what is worth keeping above."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

from rich import progress as rich_progress
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from provision.cli.sentences import in_bytes, phase, sentence, so_far, time_left
from provision.project.units import size

Event = Mapping[str, Any]

_BAR_WIDTH = 24
# A compiler may work on one file for half a minute: over a shorter time the estimate would jump.
_SPEED_SECONDS = 180.0


class _Bar(rich_progress.ProgressColumn):
    """A bar where the end is known; else nothing, instead of one that only runs to and fro."""

    def render(self, task: rich_progress.Task) -> RenderableType:
        if not task.total:
            return Text()
        return ProgressBar(total=task.total, completed=task.completed, width=_BAR_WIDTH)


class _Time(rich_progress.TimeElapsedColumn):
    """How long it will still take; where that cannot be known, how long it has taken."""

    def render(self, task: rich_progress.Task) -> Text:
        left = task.time_remaining
        if not left:
            return super().render(task)
        return Text(time_left(left))


class _Rate(rich_progress.ProgressColumn):
    """How fast bytes come, once that is known."""

    def render(self, task: rich_progress.Task) -> Text:
        return Text(f"{size(task.speed)}/s" if task.speed and task.fields["in_bytes"] else "")


class Progress:
    """Phases and steps change a host's line; checks, warnings and results stay above it."""

    def __init__(self) -> None:
        self._console = RichConsole(file=sys.stderr, highlight=False)
        self._bars = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.fields[host]}", style="bold"),
            rich_progress.TextColumn("{task.description}", markup=False),
            _Bar(),
            rich_progress.TextColumn("{task.fields[amount]}"),
            _Rate(),
            _Time(),
            console=self._console,
            transient=True,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._lock = threading.RLock()
        self._bars.start()

    def event(self, event: Event) -> None:
        with self._lock:
            kind, host = event["event"], str(event.get("host") or "")
            text = sentence(event)
            if kind == "phase" and event["state"] == "begin":
                self._show(host, phase(event))
            elif kind == "progress":
                self._advance(host, event)
            elif kind == "step":
                self._show(host, str(text).removeprefix(f"{host}: "))
            elif text is not None:
                self.line(text, style=_style(event))
                if kind == "result" and host in self._tasks:
                    self._bars.remove_task(self._tasks.pop(host))

    def line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()

    def _task(self, host: str) -> rich_progress.TaskID:
        if host not in self._tasks:
            self._tasks[host] = self._bars.add_task("", total=None, host=host, amount="", in_bytes=False)
        return self._tasks[host]

    def _show(self, host: str, text: str) -> None:
        if host in self._tasks:  # a task can't forget its total, so each phase gets a new one
            self._bars.remove_task(self._tasks.pop(host))
        self._bars.update(self._task(host), description=text)

    def _advance(self, host: str, event: Event) -> None:
        done, total = event["done"], event.get("total") or None
        if not host and done == total:  # of this machine, and over: no other event would end it
            if host in self._tasks:
                self._bars.remove_task(self._tasks.pop(host))
            return
        self._bars.update(
            self._task(host),
            description=phase(event),
            completed=done,
            total=total,
            amount=so_far(event),
            in_bytes=in_bytes(event),
        )


def _style(event: Event) -> str:
    if event["event"] == "warning":
        return "yellow"
    if event["event"] == "check":
        return "green" if event["passed"] else "bold red"
    return "bold" if event["event"] == "result" else "dim"

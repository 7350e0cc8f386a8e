"""What happened, as events, and where they go.

A sink is anything that can be called with an event. A sink that fails is reported once in the log and never breaks
the launch that it was told about.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        name: what, in words separated by dots: `launch.finished`.
        fields: the facts, JSON values by name.
        at: when, in seconds since 1970.
    """

    name: str
    fields: Mapping[str, object] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

    def as_dict(self) -> dict[str, object]:
        """The event as one flat JSON object; `event` and `at` win over fields of the same name."""
        return {**self.fields, "event": self.name, "at": self.at}


Sink = Callable[[Event], None]


class Telemetry:
    """The sinks of one runtime or supervisor; calling it with a name and facts tells all of them."""

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self.sinks = tuple(sinks)
        self._reported: set[int] = set()

    def __call__(self, name: str, /, **fields: object) -> None:
        if not self.sinks:
            return
        event = Event(name, fields)
        for number, sink in enumerate(self.sinks):
            try:
                sink(event)
            except Exception:
                if number not in self._reported:
                    self._reported.add(number)
                    _log.exception("telemetry sink %r failed; the launch goes on, and this is said once", sink)


class JsonLinesSink:
    """Appends each event to a file as one line of JSON.

    One `write` a line on a file opened with O_APPEND, so that several processes may share it without mixing lines.
    A value that JSON has no form for is written as its `str()`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def __call__(self, event: Event) -> None:
        os.write(self._file, json.dumps(event.as_dict(), default=str).encode() + b"\n")

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> JsonLinesSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

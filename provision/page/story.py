"""What a command told, host by host: its plan, its phases and steps in time, its checks, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provision.recorded import Run

_BLOCK = 20  # lines
_BLOCKS = 20


@dataclass
class Span:
    """A phase, or a step within the last one."""

    name: str
    detail: str
    began: float
    seconds: float | None = None  # None: it goes on
    is_step: bool = False
    done: int = 0
    total: int = 0


@dataclass
class OfHost:
    """What became of one host."""

    name: str
    plan: Mapping[str, Any] | None = None
    spans: list[Span] = field(default_factory=list)
    checks: list[Mapping[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """What its colour is."""
        if self.error:
            return "bad"
        return "good" if self.result else "busy"

    @property
    def outcome(self) -> str:
        if self.result:
            return str(self.result.get("outcome", "done"))
        return str(self.error.get("kind", "failed")) if self.error else "under way"

    @property
    def bars(self) -> list[tuple[Span, float, float]]:
        """Each span, where its bar begins and how long it is, in percent of all."""
        if not self.spans:
            return []
        first = self.spans[0].began
        last = max(span.began + (span.seconds or 0.0) for span in self.spans)
        whole = max(last - first, 0.001)
        return [
            (span, 100 * (span.began - first) / whole, max(0.5, 100 * (span.seconds or 0.0) / whole))
            for span in self.spans
        ]


Line = tuple[float, str]  # when, and the sentence


@dataclass(frozen=True)
class Story:
    """All of it."""

    hosts: Sequence[OfHost]
    said: Mapping[int, Sequence[Line]]  # the last lines in blocks, by the number of each one's first
    error: Mapping[str, Any] | None  # of no host in particular
    seconds: float


def story(run: Run) -> Story:
    hosts: dict[str, OfHost] = {}
    error: Mapping[str, Any] | None = None
    for event in run.events:
        name = str(event.get("host") or "")
        if event["event"] == "error":
            error = event
        if not name:
            continue
        host = hosts.setdefault(name, OfHost(name))
        if take := _TAKES.get(event["event"]):
            take(host, event)
    last = run.events[-1]["at"] if run.events else run.began
    for host in hosts.values():
        _close(host, run.ended or last, over=not run.running)
    for name, said in ((error or {}).get("failed") or {}).items() if error else ():
        if name in hosts and hosts[name].error is None:
            hosts[name].error = {"what": said}
    lines = [(event["at"], str(event["text"])) for event in run.events if event.get("text")]
    return Story([*hosts.values()], _blocks(lines), error, max(0.0, (run.ended or last) - run.began))


def _blocks(lines: Sequence[Line]) -> dict[int, Sequence[Line]]:
    """Only the last one still grows: what stands is not sent, or laid out, anew with each line that comes."""
    starts = range(0, len(lines), _BLOCK)
    return {start: lines[start : start + _BLOCK] for start in starts[-_BLOCKS:]}


def _planned(host: OfHost, event: Mapping[str, Any]) -> None:
    host.plan = event


def _phase(host: OfHost, event: Mapping[str, Any]) -> None:
    if event["state"] == "begin":
        host.spans.append(Span(event["phase"], "", event["at"]))
    else:
        _end_step(host, event["at"])
        for span in reversed(host.spans):
            if span.name == event["phase"] and not span.is_step:
                span.seconds = event.get("seconds", event["at"] - span.began)
                return


def _progress(host: OfHost, event: Mapping[str, Any]) -> None:
    for span in reversed(host.spans):
        if span.name == event["phase"]:
            span.done, span.total = event["done"], event.get("total") or 0
            return


def _step(host: OfHost, event: Mapping[str, Any]) -> None:
    _end_step(host, event["at"])
    detail = " ".join(filter(None, [event.get("program"), event.get("detail")]))
    host.spans.append(Span(event["step"], detail, event["at"], is_step=True))


def _end_step(host: OfHost, at: float) -> None:
    if host.spans and host.spans[-1].is_step and host.spans[-1].seconds is None:
        host.spans[-1].seconds = at - host.spans[-1].began


def _check(host: OfHost, event: Mapping[str, Any]) -> None:
    host.checks.append(event)


def _warning(host: OfHost, event: Mapping[str, Any]) -> None:
    host.warnings.append(event["text"])


def _result(host: OfHost, event: Mapping[str, Any]) -> None:
    host.result = event


def _error(host: OfHost, event: Mapping[str, Any]) -> None:
    host.error = event


def _close(host: OfHost, at: float, *, over: bool) -> None:
    for span in host.spans:
        if span.seconds is None and over:
            span.seconds = max(0.0, at - span.began)


_TAKES = {
    "planned": _planned,
    "phase": _phase,
    "progress": _progress,
    "step": _step,
    "check": _check,
    "warning": _warning,
    "result": _result,
    "error": _error,
}

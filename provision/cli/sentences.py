"""Events as sentences; the same for live progress and plain lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from provision.project.units import seconds, size

Event = Mapping[str, Any]

_PHASES = {
    "connect": "connecting",
    "facts": "looking at what is there",
    "plan": "planning",
    "hash": "reading files",
    "ship": "shipping",
    "engine": "shipping the engine",
    "haproxy": "shipping HAProxy",
    "model": "shipping the model",
    "fetch": "fetching the model",
    "verify": "verifying the model",
    "seal": "checking what arrived",
    "transaction": "switching",
    "measure": "measuring",
    "wait": "waiting for another build",
    "download": "downloading",
    "unpack": "unpacking",
    "generate": "generating kernels",
    "configure": "configuring",
    "compile": "compiling",
    "install": "installing",
    "build": "building",
}
_TOLD_IN_SECONDS = 90
_STEPS = {
    "preflight": "checking room, memory and ports",
    "start": "starting",
    "stop": "stopping",
    "drain": "draining",
    "hold": "holding requests for",
    "held": "requests for",
    "prove": "proving",
    "undo": "putting back:",
    "recover": "recovering",
    "prepare": "preparing",
    "wait": "waiting",
}
_OUTCOMES = {
    "committed": "done",
    "unchanged": "unchanged, nothing to do",
    "put back": "failed and put back",
}


def sentence(event: Event) -> str | None:
    """`event` for people; None where it says nothing by itself (a phase that ends)."""
    tell = _KINDS.get(str(event["event"]))
    said = tell(event) if tell else None
    if not said:
        return None
    host = event.get("host")
    return f"{host}: {said}" if host else said


def time_left(value: float) -> str:
    """How long something still takes, as well as that is known."""
    return f"about {value / 60:.0f} min left" if value > _TOLD_IN_SECONDS else f"about {value:.0f} s left"


def phase(event: Event) -> str:
    """What the phase of `event` does, as a person would say it."""
    return _PHASES.get(event["phase"]) or str(event["phase"])


def _phase(event: Event) -> str | None:
    return phase(event) if event["state"] == "begin" else None


def in_bytes(event: Event) -> bool:
    """Whether a progress counts bytes, and not files or steps."""
    return bool(event.get("unit", "bytes") == "bytes")


def so_far(event: Event) -> str:
    """How far a progress is: `85 of 212 steps`; one number at its end, and where the end is not known."""
    numbers = dict.fromkeys((event["done"], event.get("total") or event["done"]))  # a number once
    if in_bytes(event):
        return " of ".join(map(size, numbers))
    return f"{' of '.join(map(str, numbers))} {event['unit']}"


def moved(event: Event, rate: float = 0.0) -> str:
    """How far a progress is, and at how many bytes a second, where that is known."""
    done, total = event["done"], event.get("total")
    if not total or done == total:
        return f"{phase(event)}: {so_far(event)}"
    pace = f", {size(rate)}/s, {time_left((total - done) / rate)}" if rate else ""
    return f"{phase(event)}: {done * 100 // total} % ({so_far(event)}{pace})"


def _step(event: Event) -> str:
    return " ".join(filter(None, [_STEPS.get(event["step"], event["step"]), event["program"], event["detail"]]))


def measured(facts: dict[str, Any]) -> str:
    """What a bench has measured, behind a comma; empty for other facts."""
    seen = facts.get("full") or facts.get("short")
    if not isinstance(seen, dict):
        return ""
    words = [
        f"{seen['tokens_per_second']:.1f} tokens/s",
        f"first token in {seen['ttft_p50']:.2f} s, 95 of 100 in {seen['ttft_p95']:.2f} s",
        f"${facts['dollars_per_million']:.2f} a million tokens" if "dollars_per_million" in facts else "",
        f"stable had {facts['stable']['tokens_per_second']:.1f} tokens/s" if facts.get("stable") else "",
        "in short, while users wait" if "full" not in facts else "",
        *facts.get("beside", ()),
    ]
    return "".join(f", {word}" for word in words if word)


def _check(event: Event) -> str:
    tries = sum(count for _, count in event["attempts"])
    spent = f"{seconds(event['seconds'])}, {tries} attempt{'s' * (tries != 1)}"
    rate = event.get("facts", {}).get("tokens_per_second")
    facts = f", {rate:.0f} tokens/s" if rate else measured(event.get("facts", {}))
    return f"{'passed' if event['passed'] else 'FAILED'}: {event['check']} ({spent}{facts})"


def _result(event: Event) -> str | None:
    outcome = event.get("outcome")
    if outcome is None:
        return None
    release = f" {event['channel']} is {event['release'][:12]}" if event.get("release") else ""
    spent = f" ({seconds(event['seconds'])})" if "seconds" in event else ""
    return f"{_OUTCOMES.get(outcome, outcome)}{',' if release else ''}{release}{spent}"


def _turn(event: Event) -> str:
    if event["begins"]:
        return f"its turn has come: the steps of {event['release'][:12]} begin here"
    return f"{event['release'][:12]} does not begin here: it was aborted on {event['because_of']}"


_KINDS: dict[str, Callable[[Event], str | None]] = {
    "phase": _phase,
    "progress": moved,
    "step": _step,
    "check": _check,
    "result": _result,
    "turn": _turn,
    "warning": lambda event: f"warning: {event['text']}",
    "output": lambda event: "\n".join(f"  | {line}" for line in event["text"].rstrip().splitlines()),
    "chapter": lambda event: f"\n{event['number']}/{event['of']}  {event['title']}",
    "chapter-end": lambda event: f"     took {seconds(event['seconds'])}",
    "said": lambda event: f"     {event['text']}",
    "message": lambda event: f"{event['phase']}: {event['text']}",
    "recovered": lambda event: f"an interrupted transaction was ended: {event['outcome']}",
    "pruned": lambda event: f"removed releases no longer needed: {len(event['releases'])}",
}

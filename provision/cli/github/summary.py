"""Events as a job summary (Markdown) and as annotations (workflow commands).

GitHub's "Workflow commands": data escapes `%`, CR and LF; properties also `:` and `,`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from provision.cli.github.markdown import block, code, plain, table
from provision.cli.render.machines import paid
from provision.project.units import seconds, size

Event = Mapping[str, Any]
_SHORT = 19  # of a digest: sha256: and twelve digits
_FILES = 20


def summary(words: Sequence[str], events: Sequence[Event]) -> str:
    """What changed, what proves it, and how it ended."""
    parts = [f"### {code(shlex.join(['deploy', *words]))}"]
    parts += ["\n".join(_PARTS[event["event"]](event)) for event in events if event["event"] in _PARTS]
    checks = [event for event in events if event["event"] == "check"]
    if checks:
        parts.append("\n".join(_checks(checks)))
    blobs = [event for event in events if event["event"] == "blob"]
    if blobs:
        ways = dict.fromkeys(event["how"] for event in blobs)
        parts.append(", ".join(f"{sum(event['how'] == way for event in blobs)} blobs {way}" for way in ways))
    return "\n\n".join(parts)


def annotate(events: Sequence[Event]) -> Iterator[str]:
    """Errors and warnings, at the lines of files that they are about."""
    for event in events:
        if event["event"] == "warning":
            yield f"::warning::{data(event['text'])}"
        elif event["event"] == "lost":
            yield f"::warning::machine {event['machine']} is lost: {data(event['loss'])}"
        elif event["event"] == "error" and event.get("problems"):
            for problem in event["problems"]:
                place = f"file={_property(problem['file'])},line={problem['line'] or 1}"
                said = " ".join(filter(None, [problem["key"] + ":", problem["message"], problem["hint"]]))
                yield f"::error {place}::{data(said)}"
        elif event["event"] == "error":
            said = "\n".join(filter(None, [event["what"], event.get("why"), event.get("next")]))
            yield f"::error::{data(said)}"


def _promotion(event: Event) -> Iterator[str]:
    yield f"**{plain(event['kind'])}** {code(event['image'])} from {code(event['from'])}"
    yield ""
    yield from table(
        ["channel", "was", "is to be"],
        [[code(event["channel"]), code(event["old"] or "nothing"), code(event["new"])]],
    )
    yield ""
    yield from _evidence(event["evidence"])
    yield from (f"- against it: {plain(objection)}" for objection in event["objections"])


def _evidence(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for item in found:
        if evidence := item["evidence"]:
            by = f"{evidence['who']}, {evidence['where']}"
            rows += [
                [plain(check["name"]), "passed" if check["passed"] else "**failed**", plain(evidence["at"]), plain(by)]
                for check in evidence["checks"]
            ]
        else:
            rows.append([code(item["artifact"][:_SHORT]), "does not count", "", plain(f"it {item['problem']}")])
    yield from table(["evidence", "", "at", "by"], rows) if rows else ["No evidence."]


def _image(event: Event) -> Iterator[str]:
    yield f"{code(event['image'])} is {code(event['digest'])}"
    yield ""
    yield from _evidence(event["evidence"])


def _plan(event: Event) -> Iterator[str]:
    if event["unchanged"]:
        yield f"**{plain(event['host'])}**: unchanged, {code(event['release'][:12])}"
        return
    yield (
        f"**{plain(event['host'])}**: {plain(event['channel'])} from {code(event['current'][:12] or 'nothing')} to "
        + (code(event["release"][:12] or "nothing"))
    )
    yield ""
    steps = [[plain(step[key]) for key in ("do", "program", "how", "why")] for step in event["steps"]]
    yield from table(["step", "program", "how", "why"], steps)
    for what in ("added", "changed", "removed"):
        if files := event["files"][what]:
            more = f" and {len(files) - _FILES} more" if len(files) > _FILES else ""
            yield f"- {what}: {', '.join(map(code, files[:_FILES]))}{more}"
    yield from (f"- large: {code(path)}, {size(bytes_)}" for path, bytes_ in event["files"].get("large", {}).items())


def _checks(checks: Sequence[Event]) -> Iterator[str]:
    yield from table(
        ["check", "", "took", "host"],
        [
            [
                plain(event["check"]),
                "passed" if event["passed"] else "**failed**",
                seconds(event["seconds"]),
                plain(event.get("host", "")),
            ]
            for event in checks
        ],
    )


def _result(event: Event) -> Iterator[str]:
    facts = [code(event[key]) for key in ("image", "channel", "release", "new") if event.get(key)]
    if event.get("bytes"):
        facts.append(size(event["bytes"]))
    if event.get("instead_of"):
        facts.append(f"in the place of {', '.join(map(str, event['instead_of']))}")
    if "cost" in event:
        facts.append(paid(event["cost"], event["charged"]))
    host = f"{plain(event['host'])}: " if event.get("host") else ""
    machine = f"machine {event['machine']}: " if event.get("machine") else ""
    yield f"{host}{machine}**{plain(event.get('outcome') or 'done')}** {' '.join(facts)}".rstrip()


def _lost(event: Event) -> Iterator[str]:
    yield f"machine {event['machine']} is **lost**: {plain(event['loss'])}"
    yield from (f"- next: {code(event['next'])}" for _ in filter(None, [event["next"]]))


def _endpoints(event: Event) -> Iterator[str]:
    rows = [[code(each["address"]), str(each["port"]), str(each["machine"])] for each in event["endpoints"]]
    yield from table(["reached at", "port", "machine"], rows) if rows else ["No endpoint."]
    if event["missing"]:
        yield ""
        yield f"**{event['missing']} of the target's machines do not serve.**"


def _error(event: Event) -> Iterator[str]:
    host = f"{event['host']}: " if event.get("host") else ""
    yield f"**{plain(host + event['what'])}**"
    yield from (f"- {plain(event[key])}" for key in ("why",) if event.get(key))
    if event.get("next"):
        yield f"- next: {code(event['next'])}"
    if event.get("log"):
        yield from ("", *block(event["log"]))


_PARTS: dict[str, Callable[[Event], Iterator[str]]] = {
    "promotion": _promotion,
    "image": _image,
    "plan": _plan,
    "result": _result,
    "error": _error,
    "lost": _lost,
    "endpoints": _endpoints,
}


def data(value: str) -> str:
    """What stands behind a workflow command, on its line."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return data(value).replace(":", "%3A").replace(",", "%2C")

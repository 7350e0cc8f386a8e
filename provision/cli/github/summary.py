"""Events as a job summary (Markdown) and as annotations (workflow commands).

GitHub's "Workflow commands": data escapes `%`, CR and LF; properties also `:` and `,`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from provision.cli.sentences import seconds, size

Event = Mapping[str, Any]
_ADDRESS = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_SHORT = 19  # of a digest: sha256: and twelve digits
_FILES = 20


def summary(words: Sequence[str], events: Sequence[Event]) -> str:
    """What changed, what proves it, and how it ended."""
    parts = [f"### {_code(shlex.join(['deploy', *words]))}"]
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
            yield f"::warning::{_data(event['text'])}"
        elif event["event"] == "error" and event.get("problems"):
            for problem in event["problems"]:
                place = f"file={_property(problem['file'])},line={problem['line'] or 1}"
                said = " ".join(filter(None, [problem["key"] + ":", problem["message"], problem["hint"]]))
                yield f"::error {place}::{_data(said)}"
        elif event["event"] == "error":
            said = "\n".join(filter(None, [event["what"], event.get("why"), event.get("next")]))
            yield f"::error::{_data(said)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _promotion(event: Event) -> Iterator[str]:
    yield f"**{_text(event['kind'])}** {_code(event['image'])} from {_code(event['from'])}"
    yield ""
    yield from _table(
        ["channel", "was", "is to be"],
        [[_code(event["channel"]), _code(event["old"] or "nothing"), _code(event["new"])]],
    )
    yield ""
    yield from _evidence(event["evidence"])
    yield from (f"- against it: {_text(objection)}" for objection in event["objections"])


def _evidence(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for item in found:
        if evidence := item["evidence"]:
            by = f"{evidence['who']}, {evidence['where']}"
            rows += [
                [_text(check["name"]), "passed" if check["passed"] else "**failed**", _text(evidence["at"]), _text(by)]
                for check in evidence["checks"]
            ]
        else:
            rows.append([_code(item["artifact"][:_SHORT]), "does not count", "", _text(f"it {item['problem']}")])
    yield from _table(["evidence", "", "at", "by"], rows) if rows else ["No evidence."]


def _image(event: Event) -> Iterator[str]:
    yield f"{_code(event['image'])} is {_code(event['digest'])}"
    yield ""
    yield from _evidence(event["evidence"])


def _plan(event: Event) -> Iterator[str]:
    if event["unchanged"]:
        yield f"**{_text(event['host'])}**: unchanged, {_code(event['release'][:12])}"
        return
    yield (
        f"**{_text(event['host'])}**: {_text(event['channel'])} from {_code(event['current'][:12] or 'nothing')} to "
        + (_code(event["release"][:12] or "nothing"))
    )
    yield ""
    steps = [[_text(step[key]) for key in ("do", "program", "how", "why")] for step in event["steps"]]
    yield from _table(["step", "program", "how", "why"], steps)
    for what in ("added", "changed", "removed"):
        if files := event["files"][what]:
            more = f" and {len(files) - _FILES} more" if len(files) > _FILES else ""
            yield f"- {what}: {', '.join(map(_code, files[:_FILES]))}{more}"
    yield from (f"- large: {_code(path)}, {size(bytes_)}" for path, bytes_ in event["files"].get("large", {}).items())


def _checks(checks: Sequence[Event]) -> Iterator[str]:
    yield from _table(
        ["check", "", "took", "host"],
        [
            [
                _text(event["check"]),
                "passed" if event["passed"] else "**failed**",
                seconds(event["seconds"]),
                _text(event.get("host", "")),
            ]
            for event in checks
        ],
    )


def _result(event: Event) -> Iterator[str]:
    facts = [_code(event[key]) for key in ("image", "channel", "release", "new") if event.get(key)]
    if event.get("bytes"):
        facts.append(size(event["bytes"]))
    host = f"{_text(event['host'])}: " if event.get("host") else ""
    yield f"{host}**{_text(event.get('outcome') or 'done')}** {' '.join(facts)}".rstrip()


def _error(event: Event) -> Iterator[str]:
    host = f"{event['host']}: " if event.get("host") else ""
    yield f"**{_text(host + event['what'])}**"
    yield from (f"- {_text(event[key])}" for key in ("why",) if event.get(key))
    if event.get("next"):
        yield f"- next: {_code(event['next'])}"
    if event.get("log"):
        yield from ("", *_block(event["log"]))


_PARTS: dict[str, Callable[[Event], Iterator[str]]] = {
    "promotion": _promotion,
    "image": _image,
    "plan": _plan,
    "result": _result,
    "error": _error,
}


def _text(value: object) -> str:
    """Text that stays text: no markup, no link, no picture, on one line.

    GFM, "Autolinks (extension)": an address, of a page or of a person, is a link without any markup. No backslash
    hinders that, a fixed width does.
    """
    return " ".join(_code(word) if _ADDRESS.search(word) else _escaped(word) for word in str(value).split())


def _escaped(word: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~$!&])", r"\\\1", word)


def _code(value: object) -> str:
    """The same in a fixed width; a backtick cannot end it, a bar does not end the cell."""
    text = " ".join(str(value).split()).replace("`", "'")
    return "`" + text.replace("\\|", "\\ |").replace("|", r"\|") + "`"


def _block(lines: Sequence[str]) -> Iterator[str]:
    """Lines as they are. CommonMark, "Fenced code blocks": one ends with a longer fence alone, or its own."""
    texts = [" ".join(str(line).splitlines()) for line in lines]
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", *texts, fence)


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")

"""A plan, and what became of it, as one comment on a pull request. Pure.

GitHub refuses a comment of more than 65,536 characters. Bytes are counted here, of which a character has at least one,
and what is longer says less of its files, then of its hosts. A comment begins with a hidden line, by which a later one
takes its place (`provision.cli.github.comments`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provision.cli.github.markdown import block, code, plain, table
from provision.project.units import size

Event = Mapping[str, Any]
LIMIT = 65_536
_FILES = (200, 40, 10, 0)  # named of each kind, until it fits
_LONGEST = 300  # characters of one value
_LONGEST_LOG = 40  # lines
# What may differ in one plan.
_PER_HOST = ("host", "generation", "contents", "moves", "models", "engines", "haproxy", "warnings", "event")


def marker(name: str) -> str:
    """The hidden line of the comment called `name`: no two names have one line, and none ends it early."""
    written = re.sub(r"[^A-Za-z0-9._/-]", lambda found: f"%{ord(found[0]):x}", name)
    return f"<!-- deploy:{written.replace('--', '-%2d')} -->"


def comment(name: str, title: str, events: Sequence[Event]) -> str:
    """What `events` say, in Markdown, of at most `LIMIT` bytes.

    Args:
        name: what the comment is called; a later one of the same name takes its place.
        title: what was asked for, such as `deploy plan`.
    """
    text, alike = "", _alike([event for event in events if event["event"] == "plan"])
    for files in _FILES:
        text = "\n\n".join([f"{marker(name)}\n### {code(_short(title))}", *_parts(events, alike, files)]) + "\n"
        if len(text.encode()) <= LIMIT:
            return text
    return _cut(text)


def _cut(text: str) -> str:
    """As many lines as fit; each stands by itself where no files are named."""
    said = f"\n\nThis is cut; {code('deploy plan')} shows all of it.\n"
    content = text.encode()[: LIMIT - len(said.encode())].decode(errors="ignore")
    return content.rpartition("\n")[0] + said


def _parts(events: Sequence[Event], plans: Sequence[Sequence[Event]], files: int) -> Iterator[str]:
    yield from ("\n".join(_plan(alike, files)) for alike in plans)
    for event in events:
        if event["event"] in _KINDS:
            yield "\n".join(_KINDS[event["event"]](event, files))
    planned = (text for event in events if event["event"] == "plan" for text in event.get("warnings", ()))
    warnings = dict.fromkeys([*(event["text"] for event in events if event["event"] == "warning"), *planned])
    if warnings:
        yield "\n".join(f"- ⚠️ {plain(_short(text))}" for text in warnings)


def _alike(plans: Sequence[Event]) -> list[list[Event]]:
    """Hosts to which the same would be done, together."""
    groups: list[tuple[tuple[Event, list[str]], list[Event]]] = []
    for plan in plans:
        what = ({key: value for key, value in plan.items() if key not in _PER_HOST}, _brought(plan))
        found = next((group for same, group in groups if same == what), None)
        if found is None:
            groups.append((what, [plan]))
        else:
            found.append(plan)
    return [group for _, group in groups]


def _plan(alike: Sequence[Event], files: int) -> Iterator[str]:
    plan = alike[0]
    hosts = ", ".join(code(each["host"]) for each in alike[:20]) + (f" and {len(alike) - 20} more" * (len(alike) > 20))
    where = f"{code(plan['target'])}, {hosts}" if plan.get("target") else hosts
    if plan["unchanged"] and not plan["refused"]:
        yield f"**{where}**: unchanged, {plain(plan['channel'])} is {code(plan['release'][:12])}"
        return
    goes = f"{code(plan['current'][:12] or 'nothing')} → {code(plan['release'][:12] or 'nothing')}"
    yield f"**{where}**: {plain(plan['channel'])} {goes}"
    if refused := plan["refused"]:
        yield ""
        yield f"**`deploy up` would be refused**: {plain(_short(refused['what']))}"
        yield from (f"- {plain(_short(line))}" for line in (refused["why"],) if line)
        yield from (f"- next: {code(_short(line))}" for line in (refused["next_step"],) if line)
    if plan["steps"]:
        yield ""
        yield from table(
            ["service", "", "how", "why"],
            [
                [code(_short(step["program"])), *(plain(_short(step[key])) for key in ("do", "how", "why"))]
                for step in plan["steps"]
            ],
        )
    yield ""
    if plan["interrupted"]:
        yield "- first, an interrupted transaction is ended; the steps may then be fewer"
    if plan["taken_from"]:
        yield f"- takes the place of project {code(plan['taken_from'])}, whose services end"
    yield from (f"- {code(_short(name))} is {code(digest)}" for name, digest in plan["images"].items())
    yield from (f"- {line}" for line in _brought(plan))
    if plan["secrets"]:
        yield f"- new values of secrets: {', '.join(map(code, plan['secrets']))}"
    yield from _files(plan["files"], files)


def _brought(plan: Event) -> list[str]:
    missing = [each for each in plan["contents"] if not each["is_there"]]
    sizes = (f" of {size(each['bytes'])}" if each["bytes"] else "" for each in missing)
    return [
        f"{plain(each['kind'])} {code(_short(each['name']))}{large} is shipped"
        for each, large in zip(missing, sizes, strict=True)
    ]


def _files(changes: Mapping[str, Sequence[str]], most: int) -> Iterator[str]:
    counts = {what: len(changes[what]) for what in ("added", "changed", "removed") if changes[what]}
    if not counts:
        return
    total = sum(counts.values())
    said = f"{total} file{'s' * (total != 1)}: {', '.join(f'{count} {what}' for what, count in counts.items())}"
    if not most:
        yield f"- {said}"
        return
    yield from ("", f"<details><summary>{said}</summary>", "")
    for what, count in counts.items():
        more = f" and {count - most} more" if count > most else ""
        yield f"- {what}: {', '.join(code(_short(path)) for path in changes[what][:most])}{more}"
    yield from ("", "</details>")


def _preview(event: Event, _: int) -> Iterator[str]:
    yield f"**Preview {code(event['name'])}** on {code(event['host'])}, {plain(_until(event))}"
    yield ""
    yield from (f"- {code(service)} has port {port} there" for service, port in event["ports"].items())
    yield f"- from where one may log in: {code(event['reach'])}"


def _until(event: Event) -> str:
    return f"until {event['until']}" if event["until"] else "until it is removed"


def _error(event: Event, files: int) -> Iterator[str]:
    host = f"{event['host']}: " if event.get("host") else ""
    yield f"**{plain(_short(host + event['what']))}**"
    yield from (f"- {plain(_short(event[key]))}" for key in ("why",) if event.get(key))
    if event.get("next"):
        yield f"- next: {code(_short(event['next']))}"
    if event.get("log") and files:
        yield from ("", *block([_short(line) for line in event["log"][-_LONGEST_LOG:]]))


def _result(event: Event, _: int) -> Iterator[str]:
    if event.get("outcome"):
        release = f" {code(event['release'][:12])}" if event.get("release") else ""
        yield f"{code(event.get('host') or 'here')}: **{plain(event['outcome'])}**{release}"


_KINDS = {"preview": _preview, "result": _result, "error": _error}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

"""Previews as lines: where one is reached, and which there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts


def preview_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """A preview that was just deployed."""
    until = f"until {event['until']}" if event["until"] else "until: deploy down --preview " + event["name"]
    yield f"{event['host']}: preview {event['name']}, {until}"
    yield from (f"  {service} has port {port}" for service, port in event["ports"].items())
    yield f"  from here: {event['reach']}"


def previews_there(project: ProjectFacts) -> Iterator[str]:
    """The previews beside a project on one host."""
    for each in project.get("previews", ()):
        if untrusted := each.get("untrusted"):
            yield f"  preview {each['name']} can't be trusted: {untrusted}; next: deploy down --preview {each['name']}"
            continue
        said = "runs " + ", ".join(each["programs"]) if each["programs"] else "nothing of it runs"
        for program, how in each.get("down", {}).items():
            said += f", but {program} {how}"
        if each["expired"]:
            until = "wanted no more; next: deploy down --expired"
        elif each["until"] is not None:
            until = time.strftime("until %Y-%m-%d %H:%M", time.localtime(each["until"]))
        else:
            until = "until somebody removes it"
        yield f"  preview {each['name']} by {each['who']}: {said}; {until}"
        if each.get("down") and not each["expired"]:
            yield f"    next: deploy logs --preview {each['name']}; deploy status --preview {each['name']}"

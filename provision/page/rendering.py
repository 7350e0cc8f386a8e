"""Templates, and what they say numbers, times and others' words with.

Whatever stands in a page is text: Jinja escapes markup, and what a terminal or a reader's eye would obey (escape
sequences, marks of direction) is shown as what it is, like in a terminal.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from provision.page.fleet import kind, mark, sign
from provision.project.units import percent, seconds, size
from provision.shown import shown

FOLDER = Path(__file__).parent
PAGES = (
    ("/", "Project"),
    ("/traffic", "Traffic"),
    ("/deploys", "Deploys"),
    ("/evidence", "Evidence"),
    ("/models", "Models"),
    ("/logs", "Logs"),
)


class _Environment(jinja2.Environment):
    """Of a host's answer a key may be missing, where an earlier version gave it: then it is nothing."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            if attribute in obj:
                return obj[attribute]
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        return super().getattr(obj, attribute)


@cache
def environment() -> jinja2.Environment:
    """One for the whole program."""
    found = _Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    found.filters |= {
        "short": lambda release: str(release)[:12],
        "size": size,
        "seconds": seconds,
        "percent": percent,
        "time": time_,
        "kind": kind,
        "sign": sign,
        "stands": stands,
        "data": data,
    }
    found.globals |= {"mark": mark, "pages": PAGES}
    return found


def render(template: str, part: str, *values: Any) -> str:
    """What the macro `part` of a template makes of `values`."""
    return str(getattr(_module(template), part)(*values))


@cache
def _module(template: str) -> Any:
    return environment().get_template(template).module


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def time_(at: float | None) -> Markup:
    """A time that the reader's browser says in the reader's zone, with UTC on hover."""
    if not at:
        return Markup("")
    utc = dt.datetime.fromtimestamp(at, dt.UTC)
    text = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(utc.strftime("%Y-%m-%dT%H:%M:%SZ"), text, text)


def data(value: Any) -> str:
    """For a script of ours, as an attribute."""
    return json.dumps(value, separators=(",", ":"))


def stands(told: Mapping[str, Any]) -> str:
    """How a rollout stands, by its record or the history's note. Its step is named once: the reason may have it."""
    steps = told.get("steps") or len(told["document"]["steps"])
    step, why = f"step {told['step'] + 1} of {steps}", str(told.get("why", ""))
    said = why if why.startswith(f"{step} ") else ": ".join(filter(None, (step, why)))
    return f"{told['status']}, {said}"

"""Rules about what runs once a release."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault
from provision.project.platforms import those
from provision.project.rules.view import Sound


def _places(view: Sound) -> Iterator[Fault]:
    for name in view.once:
        for place, target in view.targets.items():
            if target.once and not target.can.on_host:
                message = f"it runs in a release's folder on a host, and targets.{place} runs containers."
                hint = f"Let targets.{place} say once = false; {those('on_host')} run it."
                yield Fault(("once", name), message, hint, at_key=True)


def _idle(view: Sound) -> Iterator[Fault]:
    for place, target in view.targets.items():
        if "once" in target.model_fields_set and not view.once:
            message = "counts for nothing where nothing runs once."
            yield Fault(
                ("targets", place, "once"), message, "Leave it out, or add [once.NAME] with a command.", at_key=True
            )


RULES = (_places, _idle)

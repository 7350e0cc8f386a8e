"""A rule about hooks: a table of them names one."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault
from provision.project.rules.view import Sound


def _named(view: Sound) -> Iterator[Fault]:
    if view.hooks and not (view.hooks.before_up or view.hooks.after_up or view.hooks.after_failure):
        yield Fault(("hooks",), "it names no hook.", 'Write one: before_up, after_up or after_failure = ["…"].')


RULES = (_named,)

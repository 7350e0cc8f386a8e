"""Rules about targets whose machines are rented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provision.project.fault import Fault
from provision.project.platforms import IN_CLUSTER
from provision.project.rules.view import Sound


def _provider(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        base = ("targets", name)
        if target.provider is None:
            for key in ("needs", "budget", "accept", "machines", "backup"):
                if key in target.model_fields_set:
                    message = "nothing is rented here, so it counts for nothing."
                    yield Fault((*base, key), message, 'Add provider = "vast", or remove it.', at_key=True)
            continue
        if target.hosts:
            message = "the provider says which machines there are."
            yield Fault((*base, "hosts"), message, "Remove hosts, or provider.", at_key=True)
        if not target.can.over_ssh:
            message = f"{target.platform} runs on no rented machine."
            yield Fault((*base, "provider"), message, "Set platform, or remove provider.", at_key=True)
        if target.needs is None:
            yield Fault((*base, "needs"), "missing.", f'Expected [targets.{name}.needs] with image = "…".')
        if target.budget is None:
            message = "missing: nothing is rented without a limit."
            hint = f'Expected [targets.{name}.budget] with per_hour = 0.60, total = 25 and until = "8h".'
            yield Fault((*base, "budget"), message, hint)
        elif target.budget.kind == "interruptible" and target.budget.bid is None:
            message = "missing: without a bid the machine would be rented on demand."
            yield Fault((*base, "budget", "bid"), message, "Expected dollars an hour, such as bid = 0.20.")
        elif target.budget.kind == "on-demand" and target.budget.bid is not None:
            message = "a machine on demand has a price, and no bid."
            yield Fault((*base, "budget", "bid"), message, 'Set kind = "interruptible", or remove bid.', at_key=True)


def _idle(view: Sound) -> Iterator[Fault]:
    budgets = {name: target.budget for name, target in view.targets.items() if target.budget}
    for name, budget in budgets.items():
        for key in ("when_idle", "busy") if budget.idle is None else ():
            if key in budget.model_fields_set:
                message, hint = "without idle it counts for nothing.", 'Add idle = "30m", or remove it.'
                yield Fault(("targets", name, "budget", key), message, hint, at_key=True)


def _accept(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        base, said = ("targets", name, "accept"), target.accept.model_fields_set
        if target.provider is None or target.needs is None:
            continue
        if "download" in said and target.needs.down is None:
            hint = f'Add down = "200Mbit/s" to [targets.{name}.needs], or remove it.'
            yield Fault((*base, "download"), "no speed is demanded, so it counts for nothing.", hint, at_key=True)
        if "speed" in said and target.needs.gpus == 0:
            message = "a machine without a GPU has no such speed, so it counts for nothing."
            yield Fault((*base, "speed"), message, "Remove it, or needs.gpus.", at_key=True)


def without_hosts(targets: Mapping[str, Any]) -> Iterator[Fault]:
    """Targets, as they are written, that say neither which hosts they have nor who rents them, or not where there."""
    for name, table in targets.items():
        if not isinstance(table, dict) or table.get("platform") in IN_CLUSTER:
            continue
        if not {"hosts", "provider"} & table.keys():
            hint = 'Expected a list, such as hosts = ["root@${VAST_HOST}:${VAST_PORT}"].'
            yield Fault(("targets", name, "hosts"), "missing.", hint)
        if "path" not in table:
            hint = 'Expected the project\'s folder on the host, such as path = "/workspace/shop".'
            yield Fault(("targets", name, "path"), f"missing. {hint}", at_key=True)


RULES = (_provider, _idle, _accept)

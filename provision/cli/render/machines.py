"""Offers and rented machines as lines, and as events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from provision.cli.render import columns
from provision.project.units import size

if TYPE_CHECKING:
    from provision.providers.face import Machine, Offer
    from provision.targets.labels import Label


def per_million_tokens(offer: Offer, rates: Mapping[str, float]) -> float | None:
    """Dollars, for one request at a time; None where nobody has seen yet how many tokens such a GPU gives."""
    rate = rates.get(offer.gpu)
    return offer.per_hour / (rate * 3600 / 1e6) if rate else None


def offer_lines(offers: Sequence[Offer], most: float, rates: Mapping[str, float]) -> Iterator[str]:
    """One line each; what is dearer than `most` dollars an hour says so.

    Args:
        rates: tokens a second, by the name of a GPU.
    """
    by_tokens = any(each.gpu in rates for each in offers)
    rows = [
        ["offer", "GPU", "VRAM", "memory", "disk", "down", "reliable", "$/h", *(["$/Mtokens"] * by_tokens), "where"]
    ]
    for each in offers:
        price = per_million_tokens(each, rates)
        over = "  over budget.per_hour" if each.per_hour > most else ""
        rows.append(
            [
                str(each.id),
                f"{each.gpus} x {each.gpu}",
                size(each.vram),
                size(each.memory),
                size(each.disk),
                f"{each.down / 1e6:.0f} Mbit/s",
                f"{100 * each.reliability:.1f} %",
                f"{each.per_hour:.3f}",
                *(["" if price is None else f"{price:.2f}"] * by_tokens),
                each.where + over,
            ]
        )
    yield from columns(rows)


def machine_lines(machines: Sequence[Machine], labels: Sequence[Label | None], now: float) -> Iterator[str]:
    """One line each: what it is, what it costs and may cost, when it ends."""
    rows = [["machine", "place", "state", "GPU", "$/h", "so far", "ends", "ssh"]]
    for each, label in zip(machines, labels, strict=True):
        address = f"root@{each.address[0]}:{each.address[1]}" if each.address else ""
        rows.append(
            [
                str(each.id),
                each.label.split(" ")[0] or "(not ours)",
                f"{each.state} ({each.loss})" if each.loss else each.state,
                each.gpu,
                f"{each.per_hour:.3f}" + (" bid" if each.is_bid else ""),
                f"${each.cost(now):.2f}" + (f" of ${label.share:.2f}" if label and label.share is not None else ""),
                moment(label.ends) if label else "",
                address,
            ]
        )
    yield from columns(rows)


def machine_event(machine: Machine, now: float, wrong: Mapping[int, str] = MappingProxyType({})) -> dict[str, Any]:
    """One machine; where it was asked, `backup` is what is wrong with its backups, or empty."""
    kept = {"backup": wrong[machine.id]} if machine.id in wrong else {}
    ports = {str(inner): f"{host}:{port}" for inner, (host, port) in machine.ports.items()}
    return {**asdict(machine), "ports": ports, "cost": round(machine.cost(now), 4)} | kept


def address_lines(machine: Machine) -> list[str]:
    """Where its ports are reached."""
    return [f"  port {inner} is reached at {host}:{port}" for inner, (host, port) in sorted(machine.ports.items())]


def paid(cost: float, charged: float | None) -> str:
    """What one has cost that is no more.

    Args:
        cost: by its price and its time; while it was stopped it cost less.
        charged: by the provider until now, which may be late; None where that does not say.
    """
    return f"it has cost ${cost:.2f} at most" + ("" if charged is None else f"; ${charged:.2f} are charged by now")


def ended_line(ended: Mapping[int, float]) -> str:
    """What machines have cost that are no more, by their numbers."""
    those = "1 machine that is no more has" if len(ended) == 1 else f"{len(ended)} machines that are no more have"
    return f"{those} cost ${sum(ended.values()):.2f} in the last 30 days; that counts for budget.total"


def moment(seconds: float) -> str:
    """A time as people read it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")

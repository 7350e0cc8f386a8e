"""Offers and rented machines as lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from provision.cli.render import columns
from provision.cli.sentences import size

if TYPE_CHECKING:
    from provision.providers.face import Machine, Offer
    from provision.targets.labels import Label


def offer_lines(offers: Sequence[Offer], most: float) -> Iterator[str]:
    """One line each; what is dearer than `most` dollars an hour says so."""
    rows = [["offer", "GPU", "VRAM", "memory", "disk", "down", "reliable", "$/h", "where"]]
    for each in offers:
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


def moment(seconds: float) -> str:
    """A time as people read it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")

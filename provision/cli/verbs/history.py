"""`deploy history`."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from csv import writer
from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.cli.render.status import entry_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.rollout import HostEntry, HostFailed

_HEAD = ["time", "host", "kind", "outcome", "stable", "canary", "who", "transaction", "why"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would work out, instead of showing it


@verb("history", example="deploy history\ndeploy history --csv > deploys.csv\ndeploy rollback 4f1c9a", preview=True)
@click.option("--csv", is_flag=True, help="For a spreadsheet: a line each, times in UTC.")
def command(session: Session, csv: bool) -> None:
    """Show what was deployed, by whom, and how it ended.

    Oldest first, host by host; of what failed, was interrupted, or left a host degraded, also why. The beginning of a
    release's id is what `deploy rollback` takes.
    """
    if csv and session.console.as_json:
        raise UsageError("--csv and --json are two ways to say the same.", next_step="leave one of them out")
    with session.console.live():
        entries = rollout.history(session.deployment, hosts=session.hosts)
    by_time = sorted(entries, key=lambda entry: entry["time"])
    session.remember(release for entry in by_time for release in entry["channels"].values())
    if csv:
        session.console.answer({"event": "history"}, _csv(by_time))
        return
    for entry in entries:
        first, *more = entry_lines(entry)
        session.console.answer({"event": "history", **entry}, [f"{entry['host']}: {first}", *more])
    if not entries:
        session.console.note("nothing was deployed yet")


def _csv(entries: Sequence[HostEntry | HostFailed]) -> list[str]:
    made = io.StringIO()
    rows = writer(made, lineterminator="\n")
    rows.writerow(_HEAD)
    for entry in entries:
        channels = entry["channels"]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry["time"]))
        cells: list[object] = [when, entry["host"], entry["kind"], entry["outcome"]]
        cells += [channels.get("stable"), channels.get("canary"), entry["who"], entry["transaction"], entry.get("why")]
        rows.writerow([_cell(str(each or "")) for each in cells])
    return made.getvalue().splitlines()


def _cell(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(_FORMULA) else text

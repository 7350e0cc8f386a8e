"""`deploy report`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.logs import seconds_ago
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.page.report import Report

_DAYS = 7


@verb(
    "report",
    example="deploy report 4f1c9a --html release.html\ndeploy report --since 7d --markdown >> $GITHUB_STEP_SUMMARY",
)
@click.argument("release", required=False, default="")
@click.option("--since", metavar="WHEN", default="", help="All since then: 7d (the default), 2h, 2026-11-30T02:10.")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML file.")
@click.option("--markdown", is_flag=True, help="As Markdown, for a job's summary; so without --html, too.")
def command(session: Session, release: str, since: str, html: Path | None, markdown: bool) -> None:
    """Write down what was deployed, how it went, and how it stands, as one file that loads nothing.

    Of a release, of which the beginning of its id will do, or of all since a time. What hosts have of it is in it, and
    what the commands told that this machine ran.
    """
    demand_one(release, since, html, markdown=markdown)
    refuse_fork("no host is asked")
    from provision.page.report import report

    began = since_when(release, since)
    with session.console.live():
        found = report(session.deployment, session.hosts, release, began)
    write(session, found, html)


def demand_one(release: str, since: str, html: Path | None, *, markdown: bool) -> None:
    """
    Raises:
        UsageError: two things are asked for at a time.
    """
    if release and since:
        raise UsageError("a release, or a time: not both.", next_step="leave one of them out")
    if html and markdown:
        raise UsageError("--html and --markdown are two files.", next_step="run it once for each")


def since_when(release: str, since: str) -> float:
    """From when on all is told, in seconds since 1970; of a release, from its beginning."""
    return 0.0 if release else time.time() - (seconds_ago(since) if since else _DAYS * 86400.0)


def write(session: Session, found: Report, html: Path | None) -> None:
    """As HTML into a file, or as Markdown to stdout."""
    if html:
        from provision.page.report import as_html

        text = as_html(found)
        try:
            with open(html, "w", encoding="utf-8", errors="replace", opener=_mine) as file:
                file.write(text)
        except OSError as failure:
            raise UsageError(f"{html}: {failure.strerror}.", next_step="name another file") from None
        session.console.answer({"event": "report", "file": str(html), "about": found.about}, f"written to {html}")
        return
    lines = _markdown(found)
    session.console.answer({"event": "report", "about": found.about, "markdown": "\n".join(lines)}, lines)


def _mine(path: str, flags: int) -> int:
    """Opens a new file for its owner alone: last lines of logs, hosts and paths are in it. What is there stays so."""
    return os.open(path, flags, 0o600)


def _markdown(found: Report) -> list[str]:
    from provision.cli.github.markdown import block, code, plain, table
    from provision.cli.render.status import entry_lines

    lines = [f"### {plain(found.project)} on {plain(found.target)}: {plain(found.about)}", ""]
    rows = [
        [code(each.host), plain(": ".join(filter(None, [each.state, each.says]))), code(each.next) if each.next else ""]
        for each in found.standing
    ]
    lines += [*table(["host", "is", "next"], rows), ""]
    for each in found.chains:
        of = f"{each.hosts[0]} and {len(each.hosts) - 1} more" if len(each.hosts) > 1 else each.hosts[0]
        lines += [f"**{plain(each.channel)} {code(each.release[:12])} on {plain(of)}**, from binaries to host", ""]
        links = [
            [*map(plain, (one.step, one.of, one.state, one.told)), code(one.next) if one.next else ""]
            for one in each.links
        ]
        lines += [*table(["step", "of", "is", "says", "next"], links), ""]
    for entry in found.entries:
        first, *more = entry_lines(entry)  # type: ignore[arg-type]  # of a cluster, what it reads of it is alike
        lines.append(f"- {code(entry['host'])} {plain(first)}")
        lines += [f"  {plain(line)}" for line in more]
    for run, told in found.runs:
        lines += ["", f"**{plain(run.command)}**: {plain(run.outcome)}"]
        if told.error:
            lines += ["", plain(told.error["what"]), ""]
            if told.error.get("log"):
                lines += block(told.error["log"])
    return lines

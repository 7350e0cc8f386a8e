"""`deploy report` on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, release: str, since: str, html: Path | None, markdown: bool) -> None:
    from provision.cli.verbs.report import demand_one, since_when, write
    from provision.page.report import report_of_cluster

    demand_one(release, since, html, markdown=markdown)
    began = since_when(release, since)
    with session.console.live():
        found = report_of_cluster(session.there, release, began)
    write(session, found, html)

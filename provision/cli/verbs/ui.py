"""`deploy ui`."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session, declared_targets
from provision.cli.tunnelling import has_browser
from provision.cli.verb import verb
from provision.errors import UsageError
from provision.project import load
from provision.project.fault import nearest

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.page.places import Project
    from provision.page.serving import Address
    from provision.targets import Deployment


@verb("ui", example="deploy ui\ndeploy ui --port 8477 --no-open\ndeploy ui --allow promote,rollback", hosts=False)
@click.option("--port", type=click.IntRange(1024, 65535), help="Of this machine (default: 8477, or one that is free).")
@click.option("--socket", type=click.Path(path_type=Path), help="Listen at this path instead, for this account alone.")
@click.option("--no-open", is_flag=True, help="Print the address, and start no browser.")
@click.option("--allow", metavar="VERBS", default="", help="Buttons for these, such as up,promote,rollback,traffic.")
def command(session: Session, port: int | None, socket: Path | None, no_open: bool, allow: str) -> None:
    """Open a page that shows what the other verbs know, live, until Ctrl-C.

    How each host stands, deploys while they run and afterwards, lanes side by side, evidence, models, logs. It changes
    nothing, unless --allow says what it may: each button shows the command that it runs, and asks. Only this machine
    reaches it; the address works once, for the browser that opens it, and the next one is printed then. From elsewhere:
    ssh -L 8477:127.0.0.1:8477 THIS-MACHINE, and open the address there.
    """
    from provision.page.serving import curves, serve

    refuse_fork("no host is asked")
    if port is not None and socket is not None:
        raise UsageError("a port or a socket, not both.", next_step="leave one of them out")
    loaded = load(session.directory, without_targets=True, demand_secrets=False)
    if missing := curves():
        session.console.note(f"series are told as figures alone; what draws them can't be had: {missing}")
    opens = not no_open and socket is None and has_browser()
    project, verbs = _project(session, loaded.project.name), _verbs(allow)
    serve(project, partial(_tell, session, opens=opens), port=port, socket=socket, allow=verbs)
    session.console.note("the page has ended")


def _verbs(allow: str) -> list[str]:
    from provision.page.doing import VERBS

    said = [word.strip() for word in allow.split(",") if word.strip()]
    for word in said:
        if word not in VERBS:
            raise UsageError(f"--allow {word}: no button is called so.", why=nearest(word, VERBS, "buttons"))
    return said


def _tell(session: Session, address: Address, *, opens: bool) -> None:
    where = f" (at the socket {address.socket})" if address.socket else ""
    text = f"the page is at {address.url}{where}; Ctrl-C ends it"
    text = f"for another browser: {address.url}" if address.again else text
    session.console.answer({"event": "page", **address._asdict()}, text)
    if opens and not address.again and not webbrowser.open(address.url):
        session.console.note("no browser could be started here; open the address by hand")


def _project(session: Session, name: str) -> Project:
    from provision.page.places import Project

    targets = {each: partial(_open, session, each) for each in declared_targets(session.directory)}
    return Project(name, session.directory.resolve(), targets)


def _open(session: Session, target: str) -> Deployment | ProjectThere:
    """A target, asked for by its own deployment: what it tells meanwhile is nobody's news."""
    one = Session(directory=session.directory, target=target)
    one.console = session.console.silenced()
    return one.there if one.on_cluster else one.itself

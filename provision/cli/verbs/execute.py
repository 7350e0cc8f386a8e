"""`deploy exec`."""

from __future__ import annotations

import os
import sys
import threading

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

_PIECE = 64 << 10  # characters


@verb("exec", example="deploy exec -- ls -la\ndeploy exec --host gpu-03 -- nvidia-smi", preview=True)
@click.option("--service", default="", help="On a Docker Engine: in whose container; the only one by default.")
@click.option("--on-host", is_flag=True, help="On the host itself, on a Docker Engine as well.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def command(session: Session, service: str, words: tuple[str, ...], *, on_host: bool) -> int:
    """Run a command in the release that serves.

    In its folder on the host; where services are containers, inside one, in the same folder. Its output comes back as
    it is, but on a terminal without what that would obey. Its exit status is this command's. No shell reads the words:
    for a pipe, run sh -c.
    """
    if len(session.hosts) > 1:
        raise UsageError("a command runs on one host at a time.", next_step=f"--host {session.hosts[0]}")
    host = session.hosts[0] if session.hosts else None
    if not (session.console.as_json or sys.stdout.isatty()):
        return rollout.execute(session.deployment, words, host, service=service, on_host=on_host)
    reading, writing = os.pipe()
    teller = threading.Thread(target=_tell, args=(session, reading))
    teller.start()
    try:
        status = rollout.execute(session.deployment, words, host, service=service, on_host=on_host, output=writing)
    finally:
        os.close(writing)
        teller.join()
    if session.console.as_json:
        session.console.event({"event": "result", "status": status})
    return status


def _tell(session: Session, reading: int) -> None:
    """Each line of output as an event, or shown; one without an end in pieces."""
    with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(_PIECE):
            text = line.rstrip("\n")
            session.console.answer({"event": "output", "source": "exec", "text": text}, text)

"""`deploy exec`."""

from __future__ import annotations

import os
import sys
import threading
from functools import partial

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

_PIECE = 64 << 10  # characters


@verb(
    "exec",
    example="deploy exec -- python manage.py migrate\ndeploy exec --service llama -- sh\n"
    "deploy exec --plain --host gpu-03 -- nvidia-smi",
    preview=True,
)
@click.option("--service", default="", help="With whose environment, or in whose container; the only one by default.")
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option("--plain", is_flag=True, help="Without a service's environment, as the account that logs in.")
@click.option("--on-host", is_flag=True, help="On the host itself, on a Docker Engine as well; as --plain there.")
@click.option("-T", "--no-terminal", is_flag=True, help="Without a terminal: its output is lines, which nothing obeys.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    session: Session,
    service: str,
    channel: str,
    words: tuple[str, ...],
    *,
    plain: bool,
    on_host: bool,
    no_terminal: bool,
) -> int:
    """Run a command in the release that serves, with a service's environment.

    As the service's account, with its variables, secrets and Python environment, in the release's folder; where
    services are containers, inside one. With a terminal where there is one here; else its output comes back as it is.
    Its exit status is this command's. No shell reads the words: for a pipe, run sh -c.
    """
    if len(session.hosts) > 1:
        raise UsageError("a command runs on one host at a time.", next_step=f"--host {session.hosts[0]}")
    host = session.hosts[0] if session.hosts else None
    run = partial(
        rollout.execute, session.deployment, words, host, service=service, channel=channel, plain=plain, on_host=on_host
    )
    if not session.console.as_json and not no_terminal and sys.stdin.isatty() and sys.stdout.isatty():
        from provision.cli import terminal

        return run(terminal=terminal.size(), attend=terminal.lend)
    if not (session.console.as_json or sys.stdout.isatty()):
        return run()
    reading, writing = os.pipe()
    teller = threading.Thread(target=_tell, args=(session, reading))
    teller.start()
    try:
        status = run(output=writing)
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

"""`deploy unlock`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit


@verb("unlock", example="deploy unlock\ndeploy unlock --host gpu-03 --yes")
@click.option("--yes", is_flag=True, help="End the holder's worker without asking.")
def command(session: Session, yes: bool) -> int:
    """Show who holds a host's lock; end a hung transaction and recover.

    It never just removes a lock: a worker that is ended is recovered from its journal, so that the host serves one
    whole release afterwards.
    """
    refuse_fork("nothing is changed on hosts")
    held = False
    answers = rollout.unlock(session.deployment, yes=yes, hosts=session.hosts)
    if not yes and session.console.is_interactive:
        names = [answer["host"] for answer in answers if answer["outcome"] == "held"]
        for answer in answers:
            if answer["outcome"] == "held":
                session.console.note(_sentence(answer))
        if names and click.confirm(f"End the worker on {', '.join(names)} and recover?", err=True):
            again = rollout.unlock(session.deployment, yes=True, hosts=names)
            answers = [*(answer for answer in answers if answer["host"] not in names), *again]
    for answer in answers:
        held = held or answer["outcome"] == "held"
        session.console.answer({"event": "result", **answer}, _sentence(answer))
    return Exit.REFUSED if held else Exit.DONE


def _sentence(answer: dict[str, object]) -> str:
    holder = answer["holder"]
    who = f"{holder.get('who', 'somebody')} ({holder.get('doing', 'deploying')})" if isinstance(holder, dict) else ""
    if answer["outcome"] == "held":
        return f"{answer['host']}: held by {who}. If it hangs: deploy unlock --host {answer['host']} --yes"
    ended = f"ended the work of {who}; " if who else ""
    return f"{answer['host']}: {ended}{answer['outcome']}"

"""Programs of this machine around `deploy up`, as `[hooks]` declares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provision.cli.failures import event_of
from provision.cli.github.forks import is_fork
from provision.errors import Refused
from provision.project.here import CommandFailed, ended, run

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.targets import HostOutcome


@contextmanager
def hooked(session: Session, channel: str) -> Iterator[list[HostOutcome]]:
    """What is done within is a deploy; its outcomes are put into what this gives.

    Nobody's hooks are run for a pull request of a fork: its deploy.toml says what they are.

    Raises:
        Refused: `before_up` failed; nothing was begun.
    """
    done: list[HostOutcome] = []
    deployment = session.itself
    if deployment.loaded.project.hooks is None or is_fork():
        yield done
        return
    from provision.rollout.hosts import chosen

    event = {
        "project": deployment.loaded.project.name,
        "target": deployment.target_name,
        "channel": channel,
        "preview": session.preview,
        "who": deployment.who,
        # What a provider has is rented after `before_up`.
        "hosts": [] if deployment.target.provider else [spec.name for spec in chosen(deployment, session.hosts)],
    }
    try:
        _run(session, "before_up", event)
    except CommandFailed as failed:
        raise Refused(
            "the hook before_up failed, so nothing is deployed.",
            why=str(failed),
            next_step="mend what it complains of, then: deploy up",
        ) from None
    try:
        yield done
    except BaseException as error:
        code, said = event_of(error)
        _told(session, "after_failure", {**event, "error": said, "exit": code})
        raise
    hosts = [
        {
            "host": each.host,
            "outcome": each.outcome,
            "release": each.plan.release,
            "did": each.did,
            "waited": each.waited,
            "held": each.held,
            "reach": [reach._asdict() for reach in each.reach],
        }
        for each in done
    ]
    _told(session, "after_up", {**event, "hosts": hosts})


def _told(session: Session, hook: str, event: dict[str, Any]) -> None:
    """Run what cannot change any more how the deploy ended."""
    try:
        _run(session, hook, event)
    except CommandFailed as failed:
        text = f"the hook {hook} failed, which changes nothing of the deploy: {failed}"
        session.console.event({"event": "warning", "host": "", "text": text})


def _run(session: Session, hook: str, event: dict[str, Any]) -> None:
    loaded = session.itself.loaded
    hooks = loaded.project.hooks
    command = getattr(hooks, hook)
    if hooks is None or not command:
        return
    session.console.event({"event": "message", "host": "", "phase": "hook", "text": hook})
    given = json.dumps({"hook": hook, **event}, ensure_ascii=False, default=str) + "\n"
    status, output, complaints = run(command, loaded.root, hooks.timeout, given.encode("utf-8", "replace"))
    for said in (output, complaints):
        if text := said.decode(errors="replace"):
            session.console.event({"event": "output", "host": "", "source": hook, "text": text})
    if status:
        raise CommandFailed(f"{command[0]} {ended(status)}.")

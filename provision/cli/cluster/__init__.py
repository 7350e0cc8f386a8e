"""Verbs on a target that is a cluster: a module a verb, whose `command` takes the session and what it knows of the
options; the others are refused by name. The verb itself, with its help, is `provision.cli.verbs`'."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session

# In the order in which people meet them; `exec` is a word of Python's.
VERBS = {
    **{
        name: name
        for name in (
            *("plan", "up", "promote", "rollback", "down", "status", "smoke", "history", "logs", "tunnel"),
            *("traffic", "report"),
        )
    },
    **{f"rollout {name}": name for name in ("watch", "pause", "resume", "abort", "promote")},
    **{f"evidence {name}": f"evidence_{name}" for name in ("show", "verify")},
    **{f"model {name}": f"model_{name}" for name in ("list", "prune")},
    "exec": "execute",
}
# What does it there.
_INSTEAD = {
    "restart": "kubectl rollout restart deployment/SERVICE",
    "start": "kubectl scale deployment/SERVICE --replicas=1",
    "stop": "kubectl scale deployment/SERVICE --replicas=0",
    "ssh": "deploy exec -- sh",
    "open": "deploy tunnel",
    "evidence sign": "deploy smoke --channel canary --sign, where the key is",
    "model fetch": "deploy up: a pod fetches its model before it starts",
    "model verify": "deploy exec --service SERVICE -- sh -c 'sha256sum /srv/models/*/*', as the folders say",
    "unlock": "deploy status; the lock ends by itself where its holder died",
}


def instead(verb: str) -> Callable[..., int]:
    """What `verb` does on a cluster.

    Raises:
        UsageError: nothing.
    """

    def run(session: Session, **arguments: Any) -> int:
        if verb not in VERBS:
            raise UsageError(
                f"deploy {verb} is for hosts, and targets.{session.target} is a cluster.",
                next_step=_INSTEAD.get(verb, f"deploy {', '.join(VERBS)} work there"),
            )
        command = importlib.import_module(f"{__name__}.{VERBS[verb]}").command
        known = inspect.signature(command).parameters
        given = {**arguments, "host": session.hosts, "preview": session.preview}
        for name, value in given.items():
            if value and name not in known:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{option} is for hosts, and targets.{session.target} is a cluster.",
                    next_step=f"leave --{option} out",
                )
        return command(session, **{name: value for name, value in arguments.items() if name in known}) or 0

    return run

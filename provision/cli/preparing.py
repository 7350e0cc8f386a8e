"""Before the first deploy: whose host it is, and what it lacks; `deploy host trust`, `bootstrap` and their tasks."""

from __future__ import annotations

from provision.cli.session import Session
from provision.cli.trust import pin_shown_key
from provision.hosts import bootstrap as hosts


def trust_hosts(session: Session, *, fingerprint: str = "", replace: bool = False, yes: bool = False) -> None:
    """Pin the keys that the session's hosts show, each once somebody has confirmed it.

    Args:
        fingerprint: pin only this key, and ask nobody.
        replace: forget the host's other keys.
        yes: pin what is shown.

    Raises:
        Refused: nobody confirmed a key.
        HostKeyChanged: another one is pinned, or `fingerprint` is another one.
        Unreachable: no SSH server answers.
    """
    for spec in session.specs:
        key = pin_shown_key(session.console, spec, yes=yes, fingerprint=fingerprint, replace=replace)
        session.console.answer(
            {"event": "result", "host": spec.name, "fingerprint": key.fingerprint, "type": key.type},
            f"{spec.name}: pinned {key.fingerprint} in {spec.known_hosts[0]}",
        )


def bootstrap_hosts(session: Session, *, yes: bool = False) -> None:
    """Install what the session's hosts lack, once somebody has agreed to the commands, or with `yes`.

    Raises:
        UsageError: nobody agreed, or it can't be installed there.
        DeployError: a command failed.
    """
    console = session.console

    def agreed(plan: hosts.Bootstrap) -> bool:
        console.note(f"{', '.join(plan.missing)} missing on {spec.name}. These commands install it:\n{plan}")
        return yes or console.confirm("Run them?")

    target = session.deployment.target
    wanted = (*hosts.EVERYWHERE, *target.can.tools, *([hosts.HAPROXY] if target.traffic else []))
    for spec in session.specs:
        with session.deployment.connect(spec) as connection:
            done = hosts.bootstrap(connection, agreed, wanted)
        console.answer(
            {"event": "result", "host": spec.name, "installed": list(done.missing)},
            f"{spec.name}: {'installed ' + ', '.join(done.missing) if done.missing else 'nothing is missing'}",
        )

"""The rooms of hosts before their first deploy."""

from __future__ import annotations

from provision.cli.preparing import bootstrap_hosts, trust_hosts
from provision.cli.session import Session
from provision.tasks.room import room


@room(yes="Run the commands without asking.")
def bootstrap(session: Session, yes: bool = False) -> None:
    """Install what hosts lack (rsync, python3, a supervisor) with their own package manager."""
    bootstrap_hosts(session, yes=yes)


@room(
    fingerprint="Pin only this key, SHA256:…; no question is asked.",
    replace="Forget the host's other keys: the machine was rebuilt.",
    yes="Pin what is shown without asking.",
)
def trust(session: Session, fingerprint: str = "", replace: bool = False, yes: bool = False) -> None:
    """Pin the keys of hosts, once somebody has compared them."""
    trust_hosts(session, fingerprint=fingerprint, replace=replace, yes=yes)

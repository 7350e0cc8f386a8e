"""The one dialogue in which a person says that a host's key is its own."""

from __future__ import annotations

from provision.cli.console import Console
from provision.errors import Refused
from provision.hosts import HostKey, HostSpec, fetch_key, trust


def pin_shown_key(
    console: Console, spec: HostSpec, *, yes: bool, fingerprint: str = "", replace: bool = False, next_step: str = ""
) -> HostKey:
    """Pin the key that `spec` shows in the project's own known_hosts, once somebody has confirmed it.

    Args:
        yes: it is confirmed already.
        fingerprint: what the key must be, where that is known: then nobody is asked.
        replace: forget the host's other keys there.
        next_step: what to do where nobody is there to ask; `deploy host trust` unless given.

    Raises:
        Refused: nobody confirmed it.
        HostKeyChanged: another one is pinned, or `fingerprint` is another one.
        Unreachable: no SSH server answers.
    """
    key = fetch_key(spec, ask_passphrase=lambda file: console.ask(f"passphrase of {file}: "))
    if not (yes or fingerprint):
        if not console.is_interactive:
            raise Refused(
                f"shows {key.fingerprint} ({key.type}); nobody is there to confirm it.",
                host=spec.name,
                next_step=next_step or f"deploy host trust {spec.name} --fingerprint {key.fingerprint}",
            )
        if not console.confirm(f"{spec.name} shows {key.fingerprint} ({key.type}). Is that its key?"):
            raise Refused("its key was not confirmed; nothing was pinned.", host=spec.name)
    return trust(spec, spec.known_hosts[0], replace, key=key, fingerprint=fingerprint)

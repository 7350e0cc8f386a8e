"""`deploy exec` on a cluster: in a ready pod of the service, by kubectl, which knows terminals."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, service: str, channel: str, words: tuple[str, ...], no_terminal: bool) -> int:
    from provision.cluster import pods
    from provision.cluster.server.forward import kubectl

    there = session.there
    name = pods.only(there, service)
    begin = [*kubectl(there.api), "exec", pods.ready_pod(there, name, channel), f"--container={name}"]
    if session.console.as_json:
        done = subprocess.run([*begin, "--", *words], stdout=subprocess.PIPE, text=True, errors="replace", check=False)
        for text in done.stdout.splitlines():
            session.console.event({"event": "output", "source": "exec", "text": text})
        session.console.event({"event": "result", "status": done.returncode})
        return done.returncode
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not no_terminal
    return subprocess.run([*begin, *(["-i", "-t"] if terminal else []), "--", *words], check=False).returncode

"""`deploy tunnel` on a cluster: to a ready pod of each service."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from provision.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session


def command(session: Session, services: tuple[str, ...], channel: str, local: int | None) -> None:
    from provision.cluster import pods
    from provision.cluster.server.forward import forwarded

    there = session.there
    names = pods.chosen(there, services)
    ports = {name: port for name in names if (port := there.project.services[name].port)}
    if local is not None and len(ports) != 1:
        raise UsageError("--local is for one service.", next_step="name the service")
    if not ports:
        raise UsageError("none of these services has a port.", next_step="deploy logs")
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        open_ = {}
        for name, port in ports.items():
            if there.project.services[name].on_demand and name not in services:
                continue
            pod = pods.ready_pod(there, name, channel)
            open_[name] = stack.enter_context(forwarded(there.api, pod, port, local or 0))
            url = f"http://127.0.0.1:{open_[name].local}"
            event = {"event": "tunnel", "host": session.target, "service": name, "port": port, "url": url}
            session.console.answer(event, f"{session.target}: {name} (port {port}) is at {url}")
        session.console.note("Ctrl-C ends the tunnels.")
        while True:
            time.sleep(0.5)
            for name, forward in open_.items():
                if forward.has_ended:
                    raise Unreachable(f"the pod of {name} has ended, and its tunnel too.", next_step="deploy tunnel")

"""One attempt at a declared check, against a container that runs."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from provision.images.build.checks import Declared
from provision.images.smoke import temporal
from provision.images.smoke.container import Booted, NoAnswer


def attempt(container: Booted, check: Declared) -> dict[str, Any]:
    """Try it once; what it found.

    Raises:
        NoAnswer: it did not pass.
    """
    if check.kind == "http":
        return {"bytes": len(container.ask(check.value, seconds=max(1, round(check.seconds))))}
    if check.kind == "tcp":
        container.connect(check.value)
        return {}
    if check.kind == "command":
        return _ended(container, check)
    return _registered(container, check.value)


def _ended(container: Booted, check: Declared) -> dict[str, Any]:
    """The last that the command said. One that is too slow goes with the container."""
    outcome: Future[str] = Future()

    def run() -> None:
        try:
            outcome.set_result(container.run(list(check.value)))
        except Exception as error:  # of that thread, for this one
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return {"output": outcome.result(check.seconds)[-300:]}
    except TimeoutError:
        raise NoAnswer(f"it did not end within {check.seconds:.0f} s") from None


def _registered(container: Booted, queue: str) -> dict[str, Any]:
    """The container's workers on `queue`, and what each polls for.

    Theirs is an identity with the container's host name, as every SDK of Temporal makes it: a server lists workers
    for minutes after they have ended, and others may be at work on the same queue.
    """
    try:
        listed = temporal.pollers(queue)
    except temporal.NotAsked as error:
        raise NoAnswer(str(error)) from None
    ours = {identity: kinds for identity, kinds in listed.items() if container.hostname in identity}
    if not ours:
        others = f" ({', '.join(listed)} did)" if listed else ""
        raise NoAnswer(f"no worker with {container.hostname} in its identity has registered{others}")
    return {"workers": ours}

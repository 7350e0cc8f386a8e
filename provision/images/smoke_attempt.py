"""One attempt at a declared check, against a container that runs."""

from __future__ import annotations

from typing import Any

from provision.images import temporal
from provision.images.smoke_container import Booted, NoAnswer
from provision.images.smoke_declared import Declared


def attempt(container: Booted, check: Declared) -> dict[str, Any]:
    """Try it once; what it found.

    Raises:
        NoAnswer: it did not pass.
    """
    if check.kind == "http":
        return {"bytes": len(container.ask(check.value))}
    if check.kind == "tcp":
        container.connect(check.value)
        return {}
    if check.kind == "command":
        return {"output": container.run(list(check.value))[-300:]}
    return _registered(container, check.value)


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

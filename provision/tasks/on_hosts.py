"""Tasks of somebody's own on the hosts of a target."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fabric
from invoke.context import Context

from provision.tasks.connection import PinnedConnection, over
from provision.tasks.room import ABOUT_PROJECT, BY_NAME
from provision.tasks.run import as_exits, asked_for, named, session_of


def on_hosts(
    context: Context, *, target: str = "", folder: str = "", hosts: Sequence[str] | None = None
) -> Iterator[PinnedConnection]:
    """A connection to each host in turn, open until the next one is asked for.

    Args:
        context: a connection means its host; another context all hosts of the target.
        target, folder, hosts: as a room takes them.

    Raises:
        Exit: the declaration is wrong, or a host can't be reached or trusted.
    """
    with session_of(context, target, folder, hosts) as session:
        for spec in session.specs:
            with session.deployment.connect(spec) as connection:
                yield over(connection, context.config)


def task(*body: Callable[..., Any], **settings: Any) -> Any:
    """Fabric's `@task`, whose tasks run on the hosts of the target, each with a connection of ours.

    `-H` names some of them; each task has `--target` and `--folder` besides its own options.
    """
    return fabric.task(*body, **{"klass": HostTask, **settings})


class HostTask(fabric.Task):  # type: ignore[misc]
    """A task of somebody's own on the hosts of the target, one after the other."""

    def __init__(self, body: Callable[..., Any], *, help: Mapping[str, str] | None = None, **settings: Any) -> None:  # noqa: A002  # Fabric's name
        super().__init__(body, help={**(help or {}), **ABOUT_PROJECT}, **settings)

    def argspec(self, body: Callable[..., Any]) -> inspect.Signature:
        """With the options that find the hosts."""
        signature: inspect.Signature = super().argspec(body)
        return signature.replace(parameters=[*signature.parameters.values(), *BY_NAME])

    def __call__(self, context: Context, *given: Any, target: str = "", folder: str = "", **by_name: Any) -> Any:
        """What the last host's run returns."""
        if isinstance(context, PinnedConnection):
            return super().__call__(context, *given, **by_name)
        # A task that another one needs first is called once, without a host.
        hosts = None if isinstance(context, fabric.Connection) else [named(each) for each in asked_for(context.config)]
        result = None
        with as_exits():
            for connection in on_hosts(context, target=target, folder=folder, hosts=hosts):
                result = super().__call__(connection, *given, **by_name)
        return result

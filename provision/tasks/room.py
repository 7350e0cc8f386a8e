"""From a function of a session to one that takes Fabric's context, and to a task of `fab`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints

from fabric import Connection
from invoke.context import Context
from invoke.tasks import Task

from provision.errors import UsageError
from provision.tasks.run import asked_for, named, session_of

ABOUT_PROJECT = {
    "target": "The target (default: the only one, or deploy.target of fabric.yaml).",
    "folder": "The project's folder (default: the fabfile's, or deploy.folder of fabric.yaml, seen from there).",
}
BY_NAME = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=str) for name in ABOUT_PROJECT
]


class Room(Protocol):
    """A room to call, and the same as a task; `target`, `folder` and `hosts` are given by name."""

    task: RoomTask

    def __call__(self, context: Context, /, *given: Any, **by_name: Any) -> Any: ...


class RoomTask(Task[Any]):
    """A room in `fab`. With `-H a,b` it runs once for both, as a rollout must; Fabric calls it once for each."""

    def __call__(self, context: Context, *given: Any, **by_name: Any) -> Any:
        hosts = asked_for(context.config)
        if hosts and isinstance(context, Connection) and context != hosts[0]:
            return None  # the first one's run was for all of them
        if hosts:
            by_name["hosts"] = list(dict.fromkeys(map(named, hosts)))
        return super().__call__(context, *given, **by_name)


def room(
    name: str = "", /, *, secrets: bool = False, targets: bool = True, iterable: Iterable[str] = (), **help_: str
) -> Callable[[Callable[..., Any]], Room]:
    """Let a function that takes a `Session` first take a context instead; what it returns is returned.

    An argument that is declared as a `Literal` must be one. What fails is Fabric's `Exit`.

    Args:
        name: of the task, where the function can't have it.
        secrets: whether the values of the project's secrets are needed.
        targets: whether it has to do with targets.
        iterable: options that may be given several times.
        help_: of each option.
    """

    def decorate(function: Callable[..., Any]) -> Room:
        signature = inspect.signature(function)
        choices = {
            option: get_args(hint) for option, hint in get_type_hints(function).items() if get_origin(hint) is Literal
        }

        @functools.wraps(function)
        def run(
            context: Context,
            /,
            *given: Any,
            target: str = "",
            folder: str = "",
            hosts: Sequence[str] | None = None,
            **by_name: Any,
        ) -> Any:
            with session_of(context, target, folder, hosts, secrets=secrets) as session:
                _demand(choices, signature.bind(session, *given, **by_name).arguments)
                return function(session, *given, **by_name)

        first, *own = signature.parameters.values()
        shared = [each for each in BY_NAME if targets or each.name != "target"]
        about = {**help_, **{each.name: ABOUT_PROJECT[each.name] for each in shared}}
        vars(run)["__signature__"] = signature.replace(parameters=[first, *own, *shared])
        made = cast(Room, run)
        # Short options by first letters would be other ones than those of `deploy`: -t for --take-over.
        made.task = RoomTask(run, name=name or None, iterable=iterable, help=about, auto_shortflags=False)
        return made

    return decorate


def _demand(choices: Mapping[str, tuple[str, ...]], given: Mapping[str, Any]) -> None:
    for option, allowed in choices.items():
        if given.get(option, allowed[0]) not in allowed:
            raise UsageError(f"--{option} {given[option]}: there is no such one.", why=f"One of: {', '.join(allowed)}.")

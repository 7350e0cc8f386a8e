"""What every verb has in common: an example in its help, where the project is, which target and hosts, and `--json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from provision.cli.completing import completed
from provision.cli.session import Session

_Function = Callable[..., int | None]


class _Command(click.Command):
    """A command whose help ends with an example that can be pasted."""

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            from provision.cli.typed import explained

            raise explained(error, self, ctx, words) from None

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write("".join(f"  {line}\n" for line in self.example.splitlines()))


def verb(
    name: str,
    *,
    example: str,
    project: bool = True,
    hosts: bool = True,
    secrets: bool = False,
    preview: bool = False,
    place: bool = False,
) -> Callable[[_Function], click.Command]:
    """Make a click command of a function that takes a `Session` first; click's own decorators stand below this one.

    Args:
        example: shown at the end of the help.
        project: whether it has to do with a project (`--dir`).
        hosts: whether it works on a target's hosts (`--target`, `--host`).
        secrets: whether the values of the project's secrets are needed.
        preview: whether it works on a preview as well (`--preview`).
        place: whether its first word may be the target.
    """

    hosts_too = hosts

    def decorate(function: _Function) -> click.Command:
        def run(
            as_json: bool,
            directory: Path = Path(),
            target: str | None = None,
            hosts: tuple[str, ...] = (),
            preview: str = "",
            place: str | None = None,
            **arguments: Any,
        ) -> int:
            with Session(
                as_json=as_json, directory=directory, target=target, hosts=hosts, secrets=secrets, preview=preview
            ) as session:
                if place:
                    session.name_target(place)
                if hosts_too and session.on_cluster:
                    from provision.cli.cluster import instead

                    # In a group it is named with that, since `deploy machine watch` is not `deploy rollout watch`.
                    group = "" if function.__name__ == "command" else f"{function.__module__.rpartition('.')[2]} "
                    return instead(group + name)(session, **arguments)
                return function(session, **arguments) or 0

        own: list[click.Parameter] = getattr(function, "__click_params__", [])[::-1]
        first = [click.Argument(["place"], required=False, metavar="[TARGET]")] if place else []
        every = (*first, *own, *_common(project, hosts, preview))
        params = [completed(param, of_project=project, of_hosts=hosts) for param in every]
        return _Command(name, callback=run, params=params, help=function.__doc__, example=example)

    return decorate


def _common(project: bool, hosts: bool, preview: bool) -> list[click.Parameter]:
    options: list[click.Parameter] = []
    if preview:
        options.append(click.Option(["--preview"], metavar="NAME", default="", help="That preview of the project."))
    if hosts:
        options += [
            click.Option(["-t", "--target"], metavar="NAME", help="The target (default: the only one)."),
            click.Option(
                ["--host", "hosts"], metavar="NAME", multiple=True, help="Only this host of the target; repeatable."
            ),
        ]
    if project:
        folder = click.Path(exists=True, file_okay=False, path_type=Path)
        options.append(
            click.Option(
                ["-C", "--dir", "directory"], type=folder, default=Path(), help="The project's folder (default: here)."
            )
        )
    return [*options, click.Option(["--json", "as_json"], is_flag=True, help="JSON Lines on stdout, nothing else.")]

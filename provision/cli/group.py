"""A click group that knows its commands by name and summary, and imports one only to run it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class Verb:
    """A command that lives in a module of its own; `module` where that can't have the command's name."""

    name: str
    summary: str
    module: str = ""


class Group(click.Group):
    """Commands of `package`, one module each, shown in `sections`."""

    def __init__(self, name: str, *, sections: Mapping[str, Sequence[Verb]], package: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.sections = sections
        self.verbs = {verb.name: verb for verbs in sections.values() for verb in verbs}
        self._package = package

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = self.verbs.get(cmd_name)
        if verb is None:
            return None
        command = importlib.import_module(f"{self._package}.{verb.module or verb.name}").command
        assert isinstance(command, click.Command)  # noqa: S101  # a mistake in the table, not a user's
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from provision.cli.typed import before_the_verb

            raise before_the_verb(error.option_name, words, self.verbs, ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.verbs and not args[0].startswith("-"):
            from provision.cli.typed import no_command

            raise no_command(args[0], self.verbs, ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's own, without importing each command for its summary."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(verb.name, help=verb.summary)
            for verb in self.verbs.values()
            if verb.name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(verb.name, verb.summary) for verb in verbs])

"""`command`: it ends with status 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from provision.project.checks.kind import Asked, InImage, Kind
from provision.project.section import Section
from provision.project.values import Text

if TYPE_CHECKING:
    from provision.agent.checks.command import CommandCheck


class Command(Section):
    command: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Run in the release; exit status 0 passes."""


def _document(check: Command, asked: Asked) -> CommandCheck:
    argv = [asked.text(word, "command") for word in check.command or ()]
    return {**asked.document("command", argv[0]), "argv": argv, "env": asked.env()}


def _is_words(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(word, str) for word in value)


KIND = Kind(
    "command",
    _document,
    in_container=lambda check: ("exec", check.command or ()),
    on_host=True,
    no_secret=lambda name: (
        "a check's command is kept in the release and seen by every account of the host",
        f'Ask over HTTP: check = {{ http = "/…", token = "{name}" }}.',
    ),
)
IN_IMAGE = InImage('a list of words such as ["bitnet", "diagnose"]', _is_words, lambda words: {"argv": words})

"""Secrets in memory: values that no log line, traceback or test report prints by accident."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Secret(str):
    """A text whose `repr` hides it. It is written where it is used on purpose, as any other text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class Secrets(Mapping[str, str]):
    """The secrets that the asked services name: variable -> value."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name: Secret(value) for name, value in values.items()}

    def __getitem__(self, name: str) -> Secret:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"

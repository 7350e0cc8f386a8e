"""Checks as they are declared, one module a kind: its keys, what is wrong with them, and what others are told of it.

The twins in `provision.agent.checks` have the probes. How a kind is added: CONTRIBUTING.md, "A kind of check".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from provision.project.checks import batch, bench, command, completion, gpu, http, queue, tcp
from provision.project.checks.kind import InImage, Kind
from provision.project.template import Template
from provision.project.values import Seconds, Variable, Whole

KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (http.KIND, tcp.KIND, command.KIND, completion.KIND, batch.KIND, gpu.KIND, bench.KIND)
}
IN_IMAGES: Mapping[str, InImage] = {
    "http": http.IN_IMAGE,
    "tcp": tcp.IN_IMAGE,
    "command": command.IN_IMAGE,
    "queue": queue.IN_IMAGE,
}


# The keys of a base come before those of the bases that stand before it.
class Check(bench.Bench, gpu.Gpu, batch.Batch, completion.Completion, command.Command, tcp.Tcp, http.Http):
    """A probe that must pass. Exactly one of `http`, `tcp`, `command`, `completion`, `batch`, `gpu`, `bench`
    is given."""

    timeout: Seconds = 60.0
    """By when the check must have passed."""
    attempt_timeout: Seconds = 10.0
    """How long one attempt may take."""
    interval: Seconds = 0.2
    """The pause between attempts."""
    passes: Whole = Field(default=2, ge=1)
    """How many attempts in a row must pass."""
    token: Variable | None = None
    """http, completion, batch, bench: the secret to send as a bearer token; passed over where the service has none."""

    @property
    def kinds(self) -> list[Kind]:
        """Those of which it is: one, in a project that was judged."""
        return [kind for name, kind in KINDS.items() if getattr(self, name) is not None]

    @property
    def texts(self) -> Iterator[tuple[tuple[str | int, ...], Template]]:
        """What may hold references: its place in the check, and the text."""
        for name, value in self._written.items():
            if isinstance(value, Template):
                yield (name,), value
            else:
                yield from (((name, index), text) for index, text in enumerate(value))

    def fill(self, known: Mapping[str, str]) -> Check:
        """The check with those references replaced whose values are `known`."""
        return self.model_copy(
            update={
                name: value.fill(known) if isinstance(value, Template) else tuple(text.fill(known) for text in value)
                for name, value in self._written.items()
            }
        )

    @property
    def _written(self) -> dict[str, Template | tuple[Template, ...]]:
        """What it asks, where that is text."""
        values = {kind.name: getattr(self, kind.name) for kind in self.kinds}
        return {name: value for name, value in values.items() if isinstance(value, Template | tuple)}

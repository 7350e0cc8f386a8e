"""What could be rented for a target now, and what was learned of machines that were rented before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from provision.errors import Refused
from provision.providers.face import Machine, Offer, Provider, ProviderFailed
from provision.providers.notes import Notes
from provision.targets.needed import Needed, needed

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject

_TOLD = 5  # machines that failed, and why


class Offering:
    """That of one target.

    Args:
        notes: what was learned.
    """

    def __init__(self, loaded: LoadedProject, target: str, provider: Provider, notes: Notes) -> None:
        self._loaded = loaded
        self._name = target
        self._target = loaded.project.targets[target]
        self._provider = provider
        self._notes = notes

    def offers(self) -> Sequence[Offer]:
        """What could be rented for the target now, cheapest first; machines that failed are left out."""
        return self._provider.offers(replace(self.needed.needs, avoid=frozenset(self.failed)))

    def demanded(self) -> Sequence[Offer]:
        """The same.

        Raises:
            ProviderFailed: there is none; what is left out, and why, is said.
        """
        if found := self.offers():
            return found
        fitting = {each.machine for each in self._provider.offers(self.needed.needs)} if self.failed else set()
        failed = {machine: why for machine, why in self.failed.items() if machine in fitting}
        if not failed:
            raise ProviderFailed(
                f"nothing that fits [targets.{self._name}.needs] can be rented now; nothing was rented.",
                next_step="ask for less in needs, or later; deploy machine offers says what is asked for",
            )
        told = [f"{machine}: {why.rstrip('.')}." for machine, why in sorted(failed.items())]
        more = [f"And {len(told) - _TOLD} more."] if len(told) > _TOLD else []
        raise ProviderFailed(
            f"all {len(failed)} machines that fit [targets.{self._name}.needs] failed of late; nothing was rented.",
            why=" ".join([*told[:_TOLD], *more]),
            next_step=f"deploy machine forget {' '.join(map(str, sorted(failed)))}, which lets them be tried again",
        )

    @cached_property
    def needed(self) -> Needed:
        """What is searched for: as declared, and what models and binaries need besides."""
        return needed(self._loaded, self._target)

    @property
    def failed(self) -> dict[int, str]:
        """The provider's machines that failed us of late, and why: they are left out."""
        return self._notes.failed(self._provider.name)

    def has_failed(self, machine: Machine, why: str) -> None:
        """Leave it out from now on."""
        self._notes.has_failed(self._provider.name, machine.machine, why)

    def forget(self, machines: Sequence[int]) -> list[int]:
        """Let machines that failed be tried again, and with none named images, too; which machines those were."""
        return self._notes.forget(self._provider.name, machines)

    def demand_fit(self, image: str) -> None:
        """Refuse an image that lacks what can't be sent, as a machine of it has shown.

        Raises:
            Refused: it does.
        """
        if lacking := self._notes.lacking(image):
            raise Refused(
                f"{image} has no {' and no '.join(lacking)}, as a machine of it has shown; nothing was rented.",
                next_step=f"set another image in [targets.{self._name}.needs], or: deploy machine forget --all",
            )

    @property
    def rates(self) -> dict[str, float]:
        """By the name of a GPU, how many tokens a second it has given these models, for one request at a time."""
        return self._notes.rates(self._work)

    def gave(self, gpu: str, rate: float) -> None:
        """Remember how many a GPU has given."""
        self._notes.gave(self._work, gpu, rate)

    @cached_property
    def _work(self) -> str:
        """What is computed there: the models, and how they are served."""
        served = [
            [name, *service.every_model, service.engine or service.binary, repr(service.args)]
            for name, service in sorted(self._loaded.project.services.items())
            if service.model
        ]
        return hashlib.sha256(json.dumps(served).encode()).hexdigest()

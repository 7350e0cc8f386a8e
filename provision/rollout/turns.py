"""Whose turn it is, where a release reaches the users of several hosts by steps. Pure.

Each host judges its own canary against its own stable, and promotes it by itself. What no host can know is how the
others stand: so one that comes later waits, with the release proven and with no share, until somebody who can reach
all of them lets it begin. A host that has the release as stable, or has passed and waits for a signature, has done its
part. One that aborted it ends the waiting of the others and nothing else: what serves there was no worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.contract.rollout import ABORTED, PASSED, WAITING

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutRecord


@dataclass(frozen=True)
class Stands:
    """How one host stands with a release."""

    stable: str  # the release that it has; empty: none
    rollout: RolloutRecord | None

    def has_judged(self, release: str) -> bool:
        """Whether `release` was good enough for its users."""
        return self.stable == release or self._is(release, PASSED)

    def has_refused(self, release: str) -> bool:
        """Whether it was not."""
        return self.stable != release and self._is(release, ABORTED)

    def _is(self, release: str, status: str) -> bool:
        return self.rollout is not None and (self.rollout["release"], self.rollout["status"]) == (release, status)


@dataclass(frozen=True)
class Turn:
    """What comes next for a host that waits."""

    host: str
    rollout: str  # its id
    because_of: str = ""  # the host whose verdict ends the waiting; empty: its turn has come

    @property
    def begins(self) -> bool:
        """Whether its first step does; else it never will."""
        return not self.because_of


def turns(hosts: Mapping[str, Stands | None]) -> list[Turn]:
    """The hosts that wait no longer.

    Args:
        hosts: all of the target; None for one that does not say how it stands. One that the target has no more is
            waited for by nobody.
    """
    found = []
    for name, stands in hosts.items():
        record = stands.rollout if stands else None
        if record is None or record["status"] != WAITING:
            continue
        first = {each: hosts[each] for each in record.get("waits_for", ()) if each in hosts}
        refused = [each for each, there in first.items() if there and there.has_refused(record["release"])]
        if refused:
            found.append(Turn(name, record["id"], refused[0]))
        elif all(there and there.has_judged(record["release"]) for there in first.values()):
            found.append(Turn(name, record["id"]))
    return found

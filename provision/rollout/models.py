"""The models on the hosts of a target: what is there, brought there before a deploy, compared, and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from provision.contract.answers import KeptModel, KeptModels
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, open_session
from provision.targets.transact import fetch_models


class HostModels(NamedTuple):
    """Those of one host."""

    host: str
    models: list[KeptModel]
    removed: list[KeptModel]


def kept(
    deployment: Deployment, hosts: Sequence[str] | None = None, *, verify: bool = False, prune: bool = False
) -> list[HostModels]:
    """What each host has.

    Args:
        verify: compare them with their digests, which reads each whole.
        prune: remove those that no release on the host has, first.

    Raises:
        Refused: somebody is deploying there.
    """

    def act(spec: HostSpec) -> HostModels:
        with open_session(deployment, spec) as session, session.phase("facts"):
            found = session.conversation.ask({"op": "models", "verify": verify, "prune": prune}, KeptModels)
        return HostModels(spec.name, found["models"], found["removed"])

    return values(run_on_hosts(chosen(deployment, hosts), act))


def fetch(deployment: Deployment, hosts: Sequence[str] | None = None) -> dict[str, int]:
    """Bring each host the models of the release that is declared, and nothing else; how many bytes each lacked.

    Raises:
        Refused: `deploy up` would be refused there; nothing was sent.
    """

    def act(spec: HostSpec) -> tuple[str, int]:
        with open_session(deployment, spec, install=True) as session:
            return spec.name, fetch_models(session)

    specs = chosen(deployment, hosts)
    deployment.fleet.expect(specs)
    return dict(values(run_on_hosts(specs, act)))

"""The state that a transaction leads to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Set

from ..contract.failure import REFUSED, Failure
from ..contract.state import Program, State
from ..contract.steps import Do, How, Step
from .documents import digest_of, service_of

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument


def again(step: Step) -> Step:
    """`step`, where nothing that runs can be trusted to be what the state says."""
    if step.do is not Do.KEEP:
        return step._replace(how=How.IN_PLACE)
    return step._replace(do=Do.RESTART, how=How.IN_PLACE, why="the host was degraded")


def after(
    before: State,
    platform: str,
    channels: Dict[str, str],
    documents: Mapping[str, ReleaseDocument],
    steps: List[Step],
    versions: Dict[str, str],
    transaction: str,
    at_rest: Callable[[str], str],
) -> State:
    """What `before` becomes by `steps`.

    Args:
        channels: name -> release.
        versions: of the secrets, by name.
        at_rest: a manifest -> as it is while its program is stopped on purpose.
    """
    programs: Dict[str, Program] = {}
    used: Set[str] = set()
    for step in steps:
        if step.do is Do.REMOVE:
            continue
        if step.do is Do.KEEP:
            programs[step.program] = before.programs[step.program]._replace(lane=step.lane)
        elif step.do is Do.STOP:
            record = before.programs[step.program]
            text = at_rest(service_of(documents, step.program, record)["manifest"]["text"])
            rests = record._replace(stopped=True, manifest_sha256=digest_of(text))
            programs[step.program] = record if record.on_demand else rests
        else:
            release = channels[step.lane]
            record = Program(step.service, step.lane, step.slot, release, "", "")
            service = service_of(documents, step.program, record)
            programs[step.program] = record._replace(
                launch=f"{before.generation + 1}-{transaction}",
                fingerprint=service["fingerprint"],
                on_demand=service["on_demand"],
                manifest=service["manifest"]["name"],
                manifest_sha256=digest_of(service["manifest"]["text"]),
                secrets={name: versions.get(name, "") for name in service["secrets"]},
                devices=step.devices,
            )
        used |= set(programs[step.program].secrets)
    return before._replace(
        generation=before.generation + 1,
        sequence=before.sequence + 1,
        platform=platform,
        channels=channels,
        programs=programs,
        secrets={name: version for name, version in versions.items() if name in used},
    )


def demand_secrets(state: State, values: Mapping[str, str]) -> None:
    """Refuse to start what has a secret whose value is not here.

    Raises:
        Failure: some program has.
    """
    missing = sorted({name for program in state.programs.values() for name in program.secrets if name not in values})
    if missing:
        raise Failure(
            REFUSED,
            "the value of secret {} is not known on this host.".format(", ".join(missing)),
            next_step="put it into .env and deploy up, which brings today's values along",
        )

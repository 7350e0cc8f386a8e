"""What becomes of rollouts on hosts: said by somebody, or because other hosts have judged the release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from provision import errors
from provision.contract import rollout, shared
from provision.contract.answers import Transacted
from provision.contract.failure import Failure
from provision.contract.slots import CANARY, STABLE
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.hosts import chosen, values
from provision.rollout.turns import Stands, Turn, turns
from provision.targets import Deployment, HostConversation, open_session
from provision.targets.conversation import failure
from provision.targets.shares import demand_traffic

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutRecord, SteerRollout, Weigh

Action = Literal["pause", "resume", "abort", "promote"]


@dataclass(frozen=True)
class Steered:
    """What a request that moves no release came to on one host."""

    host: str
    outcome: str  # committed, unchanged
    shares: dict[str, float]  # lane -> share of the clients, where its release does not say it
    rollout: RolloutRecord | None


def weigh(deployment: Deployment, share: float, hosts: Sequence[str] | None = None) -> list[Steered]:
    """Give the canary of each host a share of the clients, by hand.

    Raises:
        UsageError: the target has no traffic.
        Refused: there is no canary, or a rollout gives it its shares.
    """
    demand_traffic(deployment)

    def act(spec: HostSpec) -> Steered:
        with open_session(deployment, spec, install=True) as session:
            return _asked(session, {"op": "weigh", "share": share})

    return values(run_on_hosts(chosen(deployment, hosts), act))


def steer(deployment: Deployment, action: Action, hosts: Sequence[str] | None = None) -> list[Steered]:
    """Pause, resume or abort the rollout of each host, or let the host promote its canary at once.

    Of several hosts, those stay as they are to which it can't be done: their rollout has ended, say. To resume lets
    those begin whose turn has come, and a host that is named whether it has or not.

    Raises:
        UsageError: the target has no traffic.
        Refused: none is under way, or a promotion takes evidence.
    """
    demand_traffic(deployment)
    specs = chosen(deployment, hosts)

    def act(spec: HostSpec) -> Steered | errors.DeployError:
        with open_session(deployment, spec, install=True) as session:
            if len(specs) > 1:
                state = session.facts({})["project"]["state"]
                record = state.get("rollout")
                if against := _against(record, action):
                    if record is None or not rollout.is_under_way(record):
                        return failure(against.message(), spec.name)
                    return Steered(spec.name, "unchanged", dict(state.get("shares", {})), record)
            done = _asked(session, {"op": "rollout", "action": action})
            if hosts and action == rollout.RESUME and done.rollout and not rollout.has_begun(done.rollout):
                return _asked(session, {"op": "rollout", "action": "begin", "id": done.rollout["id"]})
            return done

    found: list[Steered | errors.DeployError] = values(run_on_hosts(specs, act))
    done = {each.host: each for each in found if isinstance(each, Steered)}
    if not done:
        raise next(each for each in found if isinstance(each, errors.DeployError))
    if action == rollout.RESUME and not hosts:
        done |= {each.host: each for each in move_on(deployment).done}
    return list(done.values())


def _against(record: RolloutRecord | None, action: Action) -> Failure | None:
    """Why nothing of that can be done to a rollout."""
    try:
        if action != rollout.PROMOTE or record is None or not rollout.is_under_way(record):
            rollout.steered(record, action, "", 0.0)
    except Failure as refused:
        return refused
    return None


def _asked(session: HostConversation, request: Weigh | SteerRollout) -> Steered:
    with session.phase("transaction"):
        answer = session.conversation.ask(request, Transacted)
    return Steered(session.spec.name, answer["outcome"], answer.get("shares", {}), answer.get("rollout"))


@dataclass(frozen=True)
class Moved:
    """What came of looking whose turn it is."""

    done: list[Steered]
    left: list[str]  # hosts that did not answer, or not do what their turn was


def move_on(deployment: Deployment, hosts: Sequence[str] | None = None) -> Moved:
    """Let the rollouts begin whose turn has come, and end those that wait for a host that has aborted the release.

    What a host does not let happen now is told, and stays for the next time.

    Args:
        hosts: where that may be done; it is all hosts of the target that are asked how they stand.
    """
    if len(deployment.hosts) == 1:
        return Moved([], [])
    ours = {spec.name: spec for spec in chosen(deployment, hosts)}

    def look(spec: HostSpec) -> Stands:
        with open_session(deployment, spec) as session:
            state = session.facts({}, told=False)["project"]["state"]
        return Stands(state.get("channels", {}).get(STABLE, ""), state.get("rollout"))

    stands = {each.spec.name: each.value for each in run_on_hosts(deployment.hosts, look)}
    due = {turn.host: turn for turn in turns(stands) if turn.host in ours}

    def act(spec: HostSpec) -> Steered:
        turn = due[spec.name]
        with open_session(deployment, spec, install=True) as session:
            done = _asked(session, _request(turn))
        record = done.rollout
        told = {"release": record["release"] if record else "", "begins": turn.begins, "because_of": turn.because_of}
        deployment.on_event({"event": "turn", "host": spec.name, **told})
        return done

    moved = Moved([], [name for name, each in stands.items() if each is None])
    for result in run_on_hosts([ours[name] for name in due], act):
        if result.value is not None:
            moved.done.append(result.value)
        elif isinstance(result.error, errors.DeployError):
            moved.left.append(result.spec.name)
            text = f"its turn has come, and it does not begin: {result.error}"
            deployment.on_event({"event": "warning", "host": result.spec.name, "text": text})
        elif result.error is not None:
            raise result.error
    return moved


def _request(turn: Turn) -> SteerRollout:
    if turn.begins:
        return {"op": "rollout", "action": "begin", "id": turn.rollout}
    why = f"it was aborted on {turn.because_of}, before its turn came here."
    return {"op": "rollout", "action": "abort", "id": turn.rollout, "why": why}


def demand_none_under_way(deployment: Deployment, channel: str, hosts: Sequence[str] | None) -> None:
    """Refuse an `up` before anything is sent, where one of several hosts has a rollout of another release under way.

    Args:
        channel: as `up` takes it.

    Raises:
        Refused: it names the host, and the ways out.
    """
    specs = chosen(deployment, hosts)
    if len(specs) == 1 or not deployment.target.rollout.steps:
        return

    def look(spec: HostSpec) -> errors.DeployError | None:
        with open_session(deployment, spec) as session:
            record = session.facts({}, told=False)["project"]["state"].get("rollout")
        try:
            shared.demand_free(record, "up", channel or CANARY, deployment.release.id, None, None, aborts=False)
        except Failure as refused:
            return failure(refused.message(), spec.name)
        return None

    for result in run_on_hosts(specs, look):  # who does not answer says so when its batch comes
        if result.value is not None:
            raise result.value

"""Waits until everything that was applied runs, or cannot: each step is told, and what is stuck with its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from provision.cluster.server.client import Api
from provision.cluster.server.objects import Name, Node, at
from provision.cluster.server.watching import Watched
from provision.cluster.waiting.events import warnings_of
from provision.cluster.waiting.standing import Standing, telling_container
from provision.cluster.waiting.standings import WATCHED, Standings
from provision.errors import DeployError
from provision.events import OnEvent

LISTED = (*WATCHED, "ReplicaSet", "Pod")
_LINES = 12
_SPARE = 9  # times as long as a look took nothing is looked at: thousands of pods must not be all that is done here
_BEYOND = 120.0  # seconds after the controller's own deadline, should it not be heard
_DEADLINE = 600  # Kubernetes' own default of progressDeadlineSeconds


class NotReady(Exception):
    """Something that was applied will not run.

    Args:
        log: the last lines of the container that failed.
    """

    def __init__(self, name: Name, why: str, log: Sequence[str] = ()) -> None:
        super().__init__(f"{name}: {why}")
        self.named = name
        self.why = why
        self.log = tuple(log)


def wait(api: Api, seen: Watched, applied: Sequence[Node], tell: OnEvent, demand: Callable[[], None]) -> None:
    """Until all of `applied` runs, as `seen` shows it.

    Args:
        seen: what is `WATCHED`.
        applied: as the server gave them back.
        demand: asked again and again; raises where nobody may go on.

    Raises:
        NotReady: one is stuck; with its last lines and events.
    """
    waited = [node for node in applied if node["kind"] in WATCHED]
    longest = max((at(node, "spec", "progressDeadlineSeconds") or _DEADLINE for node in waited), default=_DEADLINE)
    deadline = time.monotonic() + longest + _BEYOND
    standings = Standings(api, waited)
    told: dict[Name, str] = {}
    while True:
        demand()
        began = time.monotonic()
        late = []
        for name, standing in standings.look(seen).items():
            if standing.stuck:
                raise NotReady(name, _with_events(api, standing), _last_lines(api, standing))
            if told.get(name) != standing.told:
                told[name] = standing.told
                step = "ready" if standing.ready else "wait"
                tell({"event": "step", "step": step, "program": name.name, "detail": standing.told})
            if not standing.ready:
                late.append((name, standing))
        # A Job may take hours, and nothing here waits for its end; where it has failed by now, that was said.
        if all(name.kind == "Job" for name, _ in late):
            return
        if time.monotonic() > deadline:
            name, standing = late[0]
            why = f"not ready in {longest + _BEYOND:.0f} s: {standing.told}"
            raise NotReady(name, why, _last_lines(api, standing))
        took = time.monotonic() - began
        seen.wait(1.0)
        time.sleep(min(_SPARE * took, 1.0))


def _with_events(api: Api, standing: Standing) -> str:
    said = warnings_of(api, standing.pod)[-2:] if standing.pod else []
    new = [text for text in said if text.partition(": ")[2] not in standing.told]
    return "\n".join([standing.told, *new])


def _last_lines(api: Api, standing: Standing) -> list[str]:
    try:
        pod = api.get("Pod", standing.pod) if standing.pod else None
        if pod is None:
            return []
        return list(api.log(standing.pod, standing.container or telling_container(pod), _LINES))
    except DeployError:  # what failed is said without them
        return []

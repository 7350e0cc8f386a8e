"""What is done to programs on the way forward and on the way back alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set

from ..contract.layout import Layout
from ..contract.state import Program, State
from . import drain, files, launch, processes, strays
from .documents import digest_of, manifest_digest
from .prove import bearer, prove
from .supervisors import Activity, Supervisor
from .together import side_by_side
from .waits import Waits

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import Idle, ServiceDocument


class Programs:
    """A project's programs under their supervisor."""

    def __init__(self, layout: Layout, supervisor: Supervisor, emit: Emit) -> None:
        self.layout = layout
        self.supervisor = supervisor
        self.emit = emit
        self.waits = Waits()

    def step(self, step: str, program: str = "", detail: str = "") -> None:
        """Tell what is about to be done."""
        self.emit({"event": "step", "step": step, "program": program, "detail": detail})

    def running(self, names: Iterable[str]) -> Set[str]:
        """Those of them that run."""
        seen = self.supervisor.observe(list(names))
        return {name for name, each in seen.items() if each.activity is Activity.RUNNING}

    def remember(self, state: State, before: State, ran: Mapping[str, List[int]]) -> None:
        """Write down which processes are ours, now that they are proven, and which release each is of.

        Args:
            before: the state of before the transaction.
            ran: the processes of then, as the journal has them: who still runs is of no release that came since.
        """
        seen = self.supervisor.observe(list(state.programs))
        known = strays.releases(self.layout, strays.remembered(self.layout))
        releases = {}
        for name, each in seen.items():
            stayed = name in before.programs and ran.get(name) == [each.pid, processes.start_time(each.pid)]
            started_from = (before if stayed else state).programs[name].release
            releases[name] = known.get(name, started_from) if stayed else started_from
        strays.remember(self.layout, {name: each.pid for name, each in seen.items()}, releases)

    def start(self, names: Sequence[str], detail: str = "") -> None:
        for name in names:
            self.step("start", name, detail)
        self.supervisor.start(names)

    def stop(self, services: Sequence[ServiceDocument], interrupt: Callable[[], None] = lambda: None) -> None:
        """Stop programs as their release describes them: once no request is in flight, or their drain is over.

        Args:
            interrupt: called while requests are waited for; may raise, and then nothing was stopped.
        """
        running = self.running(each["program"] for each in services if each.get("idle"))
        side_by_side(
            lambda each: self._drain(each["program"], each["idle"], interrupt),
            [each for each in services if each["program"] in running],
        )
        self.end({each["program"]: each["stop_timeout"] for each in services})

    def _drain(self, name: str, idle: Optional[Idle], interrupt: Callable[[], None]) -> None:
        assert idle is not None  # noqa: S101  for mypy
        self.step("drain", name, f"for at most {idle['seconds']:.0f} s")
        asked = bearer(self.supervisor.twin(), name, idle)
        self.step("drain", name, drain.wait_until_idle(idle, asked, interrupt))

    def end(self, timeouts: Mapping[str, float]) -> None:
        """Stop programs at once, each with its seconds."""
        left = self.supervisor.strays(list(timeouts))
        for name, pids in left.items():
            if pids:
                self.step("stop", name, f"and {len(pids)} of its processes that its supervisor does not know")
        seen = self.supervisor.observe(list(timeouts))
        there = {name for name in timeouts if left[name] or seen[name].activity is not Activity.ABSENT}
        self.waits.closed([name for name in timeouts if left[name] or seen[name].activity is Activity.RUNNING])
        self.supervisor.stop({name: seconds for name, seconds in timeouts.items() if name in there})
        self.waits.ended(timeouts)

    def describe(
        self, service: ServiceDocument, launch_id: str, instead_of: Optional[Program] = None, *, at_rest: bool = False
    ) -> None:
        """Let the next start of a program be of this launch; the supervisor has to load it.

        Args:
            instead_of: how it was described, perhaps in a file of another name: that has the project's in it.
            at_rest: as while it is stopped on purpose.
        """
        launch.select(self.layout, service["program"], launch_id)
        manifest = service["manifest"]
        text = self.supervisor.at_rest(manifest["text"]) if at_rest else manifest["text"]
        if manifest_digest(self.supervisor, manifest["name"]) != digest_of(text):
            files.write(self.supervisor.manifest_path(manifest["name"]), text, 0o644)
        if instead_of is not None and instead_of.manifest not in ("", manifest["name"]):
            files.remove(self.supervisor.manifest_path(instead_of.manifest))

    def rest(self, services: Sequence[ServiceDocument]) -> None:
        """Keep programs that were stopped from coming back with the host. Those that need no other manifest for that
        are not loaded anew: where programs are containers, their logs would go.
        """
        self.supervisor.disable([each["program"] for each in services])
        texts = {each["program"]: each["manifest"]["text"] for each in services}
        other = [each for each in services if self.supervisor.at_rest(texts[each["program"]]) != texts[each["program"]]]
        for each in other:
            self.describe(each, launch.current(self.layout, each["program"]), at_rest=True)
        if other:
            self.supervisor.load([each["program"] for each in other], [])

    def prove(
        self,
        services: Sequence[ServiceDocument],
        state: State,
        stop: Callable[[], None] = lambda: None,
        *,
        worked: bool = False,
        emit: Optional[Emit] = None,
    ) -> None:
        """Prove services together, each from the release that `state` says it runs from. Arguments as of `prove`."""
        for release in {state.programs[service["program"]].release for service in services}:
            group = [item for item in services if state.programs[item["program"]].release == release]
            folder, answered = self.layout.release(release), self.waits.answered
            prove(self.supervisor, group, folder, emit or self.emit, stop, worked=worked, answered=answered)

    def drop(self, manifests: Dict[str, str]) -> None:
        """Remove manifests of stopped programs. Their launch folders stay until the transaction has ended, either way:
        putting back may need them, and `prune.leftovers` removes those that nothing starts.
        """
        if not manifests:
            return
        self.supervisor.disable(list(manifests))
        for manifest in manifests.values():
            files.remove(self.supervisor.manifest_path(manifest))
        self.supervisor.load([], list(manifests))


def levels(services: Sequence[ServiceDocument]) -> List[List[ServiceDocument]]:
    """Services in the order of their `after`, grouped so that a group needs nothing of itself."""
    left = list(services)
    names = {service["name"] for service in left}
    done: Set[str] = set()
    grouped: List[List[ServiceDocument]] = []
    while left:
        ready = [item for item in left if not (set(item.get("after", ())) & names) - done] or left
        grouped.append(ready)
        done |= {item["name"] for item in ready}
        left = [item for item in left if item["name"] not in done]
    return grouped

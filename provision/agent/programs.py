"""What is done to programs on the way forward and on the way back alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Set

from ..contract.layout import Layout
from ..contract.state import Program, State
from . import drain, files, launch, strays
from .documents import digest_of, manifest_digest
from .prove import bearer, prove
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import ServiceDocument


class Programs:
    """A project's programs under their supervisor."""

    def __init__(self, layout: Layout, supervisor: Supervisor, emit: Emit) -> None:
        self.layout = layout
        self.supervisor = supervisor
        self.emit = emit

    def step(self, step: str, program: str = "", detail: str = "") -> None:
        """Tell what is about to be done."""
        self.emit({"event": "step", "step": step, "program": program, "detail": detail})

    def runs(self, name: str) -> bool:
        return self.supervisor.observe([name])[name].activity is Activity.RUNNING

    def remember(self, state: State) -> None:
        """Write down which processes are ours, now that they are proven."""
        seen = self.supervisor.observe(list(state.programs))
        strays.remember(self.layout, {name: each.pid for name, each in seen.items()})

    def start(self, name: str, detail: str = "") -> None:
        self.step("start", name, detail)
        self.supervisor.start(name)

    def stop(self, service: ServiceDocument, interrupt: Callable[[], None] = lambda: None) -> None:
        """Stop a program as its release describes it: once no request is in flight, or its drain is over.

        Args:
            interrupt: called while requests are waited for; may raise, and then nothing was stopped.
        """
        name, idle = service["program"], service.get("idle")
        if idle and self.runs(name):
            self.step("drain", name, f"for at most {idle['seconds']:.0f} s")
            asked = bearer(self.supervisor.twin(), name, idle)
            self.step("drain", name, drain.wait_until_idle(idle, asked, interrupt))
        self.end(name, service["stop_timeout"])

    def end(self, name: str, timeout: float) -> None:
        """Stop a program at once."""
        seen = self.supervisor.observe([name])[name]
        left = self.supervisor.strays([name])[name]
        if left:
            self.step("stop", name, f"and {len(left)} of its processes that its supervisor does not know")
        if left or seen.activity is not Activity.ABSENT:
            self.supervisor.stop(name, timeout)

    def describe(self, service: ServiceDocument, launch_id: str, instead_of: Optional[Program] = None) -> None:
        """Let the next start of a program be of this launch; the supervisor has to load it.

        Args:
            instead_of: how it was described, perhaps in a file of another name: that has the project's in it.
        """
        launch.select(self.layout, service["program"], launch_id)
        manifest = service["manifest"]
        if manifest_digest(self.supervisor, manifest["name"]) != digest_of(manifest["text"]):
            files.write(self.supervisor.manifest_path(manifest["name"]), manifest["text"], 0o644)
        if instead_of is not None and instead_of.manifest not in ("", manifest["name"]):
            files.remove(self.supervisor.manifest_path(instead_of.manifest))

    def prove(self, services: Sequence[ServiceDocument], state: State, stop: Callable[[], None]) -> None:
        """Prove services together, each from the release that `state` says it runs from."""
        for release in {state.programs[service["program"]].release for service in services}:
            group = [item for item in services if state.programs[item["program"]].release == release]
            prove(self.supervisor, group, self.layout.release(release), self.emit, stop)

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
        left = [item for item in left if item not in ready]
    return grouped

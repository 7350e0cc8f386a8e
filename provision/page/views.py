"""What each page shows: parts of HTML, made of what is known."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from provision import recorded
from provision.page import fleet, lanes
from provision.page.doing import Doing
from provision.page.live import Part
from provision.page.moving import moving
from provision.page.places import CHAINS, EVIDENCE, MACHINES, MODELS, PLACE, PLAN, STANDING, TRAFFIC, Place, Places
from provision.page.poller import Heard, Key
from provision.page.rendering import render
from provision.page.story import story
from provision.recorded import Run

if TYPE_CHECKING:
    from provision.cluster.over_time import OverTime
    from provision.errors import DeployError

_AGES_SECONDS = 5.0  # what is known gets old without anything that comes
_HISTORY = 200  # transactions that are shown
GONE = "gone"  # the part that says that there is nothing to show


class _Made:
    """Parts that were made: what they are made of tells whether they are still right."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, str]] = {}

    def part(self, made: dict[str, tuple[Any, str]], region: str, id_: str, macro: str, *values: Any) -> Part:
        """One part; its HTML is what it was where the values are."""
        template, _, name = macro.partition(".")
        before = made.get(id_)
        html = before[1] if before and before[0] == values else _rendered(f"{template}.html", name, id_, *values)
        self._made[id_] = values, html
        return Part(region, id_, html)


class Known(_Made):
    """A view of what hosts say."""

    every = 0.3
    kinds: Sequence[str] = ()

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places
        self.poller = places.poller

    def mark(self) -> Hashable:
        self.poller.look(self.kinds)
        return self.poller.version, int(time.time() / _AGES_SECONDS)

    def parts(self) -> list[Part]:
        made, self._made = self._made, {}
        found: list[Part] = []
        for name in self.places.project.targets:
            heard = self.poller.heard(Key(PLACE, name))
            found += self.of_target(name, heard, made)
        return found

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        raise NotImplementedError


def _rendered(template: str, macro: str, id_: str, *values: Any) -> str:
    try:
        return render(template, macro, id_, *values)
    except Exception as failure:  # a fault of ours, or an answer that makes no sense: the rest of the page stands
        return render("parts.html", "broken", id_, f"{type(failure).__name__}: {failure}")


class Project(Known):
    """Each target: what serves there, since when, by whom; the worst hosts first."""

    kinds = (PLACE, STANDING, MACHINES)

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        place: Place | None = heard.value
        now = time.time()
        if place is not None and place.is_cluster:
            there = self.poller.heard(Key(STANDING, name))
            cluster = there.value, there.error, there.is_stale(now)
            return [self.part(made, "all", fleet.mark("target", name), "project.cluster", name, place, *cluster)]
        hosts = place.hosts if place else ()
        rows = [fleet.row(name, host, self.poller.heard(Key(STANDING, name, host)), now) for host in hosts]
        machines = self.poller.heard(Key(MACHINES, name)) if place and place.provider else Heard()
        counted = fleet.counted(rows)
        head = (name, place, heard.error, counted, machines.value, machines.error)
        found = [self.part(made, "all", fleet.mark("target", name), "project.target", *head)]
        for group in fleet.groups(rows):
            if fleet.has_head(group):
                found.append(self.part(made, "all", group.id, "project.group", group.first, len(group.rows)))
            for row in group.rows:
                macro = "project.line" if fleet.is_line(row, len(rows)) else "project.host"
                found.append(self.part(made, "all", row.id, macro, row))
        return found


class Host(Known):
    """One host, with all that it says."""

    kinds = (PLACE, STANDING)

    def __init__(self, places: Places, target: str, host: str) -> None:
        super().__init__(places)
        self._target, self._host = target, host

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        if name != self._target or (heard.value and self._host not in heard.value.hosts):
            return []
        there = self.poller.heard(Key(STANDING, name, self._host))
        row = fleet.row(name, self._host, there, time.time())
        history = list(there.value.project["history"])[::-1] if there.value else []
        found = [self.part(made, "all", row.id, "project.host", row)]
        return [*found, self.part(made, "all", fleet.mark("history"), "project.history", history[:_HISTORY])]


class Traffic(Known):
    """Lanes side by side, and what becomes of a canary."""

    kinds = (PLACE, TRAFFIC)

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        place: Place | None = heard.value
        head = self.part(made, "all", fleet.mark("target", name), "traffic.target", name, place, heard.error)
        found = [head]
        if place and place.is_cluster and place.has_traffic:
            found += self._of_cluster(name, made)
        for host in place.hosts if place and place.has_traffic else ():
            there = self.poller.heard(Key(TRAFFIC, name, host))
            answer = there.value.answer if there.value else None
            facts = (host, answer, there.error, there.is_stale(time.time()))
            found.append(self.part(made, "all", fleet.mark("seen", name, host), "traffic.host", *facts))
            if answer is None:
                continue
            rollout = answer["rollout"]
            limits = rollout["record"]["document"]["abort"] if rollout else None
            for service, seen in answer["services"].items():
                drawn = lanes.charts(seen, answer["since"], answer["at"], limits)
                id_ = fleet.mark("service", name, host, service)
                found.append(self.part(made, "all", id_, "traffic.service", host, service, seen, drawn))
        return found

    def _of_cluster(self, name: str, made: dict[str, tuple[Any, str]]) -> list[Part]:
        """Of what Prometheus counted."""
        there = self.poller.heard(Key(TRAFFIC, name))
        told: OverTime | None = there.value
        facts = (name, told, there.error, there.is_stale(time.time()))
        found = [self.part(made, "all", fleet.mark("seen", name), "traffic.cluster", *facts)]
        if told is None:
            return found
        for service, seen in told.services.items():
            drawn = lanes.charts(seen, told.since, told.at, told.limits)
            id_ = fleet.mark("service", name, service)
            found.append(self.part(made, "all", id_, "traffic.service", name, service, seen, drawn))
        return found


class Evidence(Known):
    """What was proven of the release in each channel, and what is missing."""

    kinds = (PLACE, STANDING, EVIDENCE, CHAINS)

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        there = self.poller.heard(Key(EVIDENCE, name))
        place: Place | None = heard.value
        found, gone = there.value or (None, {})
        facts: tuple[Any, ...] = (name, place, heard.error, found, there.error, gone)
        told = self.poller.heard(Key(CHAINS, name))
        chains = self.part(made, "all", fleet.mark("chains", name), "evidence.chains", name, told.value, told.error)
        return [self.part(made, "all", fleet.mark("target", name), "evidence.target", *facts), chains]


class Models(Known):
    """Where models lie and which serve; what the release that is declared would bring, whether it fits, what moves."""

    kinds = (PLACE, MODELS, PLAN)

    def mark(self) -> Hashable:
        return super().mark(), recorded.mark(self.places.project.root)

    def parts(self) -> list[Part]:
        self._runs = [run for run in recorded.runs(self.places.project.root) if run.running]
        return super().parts()

    def of_target(self, name: str, heard: Heard, made: dict[str, tuple[Any, str]]) -> list[Part]:
        place: Place | None = heard.value
        moves = moving(self._runs, name)
        head = self.part(made, "all", fleet.mark("target", name), "models.target", name, place, heard.error, moves)
        found = [head]
        planned = self.poller.heard(Key(PLAN, name))
        plans: dict[str, Any] = {}
        gone: dict[str, DeployError] = {}
        if planned.value and place and not place.is_cluster:
            plans, gone = planned.value
        for host in place.hosts if place else ():
            there = self.poller.heard(Key(MODELS, name, host))
            error = there.error or gone.get(host) or planned.error
            facts = (host, there.value, plans.get(host), error, there.is_stale(time.time()))
            found.append(self.part(made, "all", fleet.mark("models", name, host), "models.host", *facts))
        return found


class Deploys(Known):
    """The commands that ran here, what the next would do, and the transactions of all hosts."""

    kinds = (PLACE, STANDING, PLAN)

    def __init__(self, places: Places, doing: Doing) -> None:
        super().__init__(places)
        self._doing = doing

    def mark(self) -> Hashable:
        return super().mark(), recorded.mark(self.places.project.root), self._doing.version

    def parts(self) -> list[Part]:
        made, self._made = self._made, {}
        runs = [_summary(run) for run in recorded.runs(self.places.project.root)]
        entries = []
        for name in self.places.project.targets:
            for key in self.poller.keys(STANDING, name):
                heard = self.poller.heard(key)
                if key.host and heard.value is not None:
                    project = heard.value.project
                    entries += [(name, key.host, entry) for entry in (*project["history"], *project.get("failed", ()))]
                elif heard.value is not None:  # a cluster
                    entries += [(name, name, asdict(entry)) for entry in heard.value.inventory.history]
        entries.sort(key=lambda each: each[2].get("time", 0), reverse=True)
        plans = {name: self.poller.heard(Key(PLAN, name)) for name in self.places.project.targets}
        told = [(name, each.value, each.error) for name, each in plans.items() if each.value or each.error]
        asked = [(each.order.text, each.id, each.code, each.error) for each in self._doing.begun]
        buttons = (self._doing.allowed, [*self.places.project.targets], asked)
        allowed = [self.part(made, "buttons", "buttons", "deploys.buttons", *buttons)] if self._doing.allowed else []
        return [
            *allowed,
            self.part(made, "runs", "runs", "deploys.runs", runs),
            self.part(made, "plan", "plan", "deploys.plans", told),
            self.part(made, "history", "history", "deploys.entries", entries[:_HISTORY]),
        ]


def _summary(run: Run) -> tuple[Run, str]:
    """Without its events, which differ at each look and are not shown."""
    releases = ", ".join(release[:12] for release in run.releases[:2])
    return replace(run, events=()), releases


class Deploy(_Made):
    """One command, while it runs and afterwards."""

    every = 0.1  # what happens is seen at once

    def __init__(self, places: Places, id_: str) -> None:
        super().__init__()
        self._reading = recorded.reading(places.project.root, id_)

    def mark(self) -> Hashable:
        return self._reading.size if self._reading else 0, int(time.time())

    def parts(self) -> list[Part]:
        run = self._reading.run() if self._reading else None
        if run is None:
            return [Part("all", GONE, render("deploys.html", "gone"))]
        made, self._made = self._made, {}
        told = story(run)
        head = (replace(run, events=()), told.error, told.seconds)
        found = [self.part(made, "all", "head", "deploys.head", *head)]
        found += [self.part(made, "all", fleet.mark("run", each.name), "deploys.host", each) for each in told.hosts]
        found.append(self.part(made, "all", "said", "deploys.said", bool(told.said)))
        for number, lines in told.said.items():
            found.append(self.part(made, "all", f"said-{number}", "deploys.lines", lines))
        return found

"""Which programs a transaction measures, in which form, against what; and where the results are kept.

A copy that runs beside the old one is measured in full, and so is what nobody waits for. A program that is replaced in
its place has users who wait, held or refused: it is measured in short. What serves already is left alone, be it proven
anew. With what stable measured is compared what evidence has of its release on this very hardware.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple, cast

from ..contract.layout import BUDGET_GUARD, Layout
from ..contract.slots import STABLE, stable_names
from . import evidence, files

if TYPE_CHECKING:
    from ..contract.bench import Measured, Rates
    from ..contract.checks import CheckDocument
    from ..contract.events import Emit, Event
    from ..contract.release import ReleaseDocument, ServiceDocument
    from ..contract.state import State

_FOLDER = "metrics"  # in shared
_FILE = "bench.prom"


class Bench:
    """The benches of one transaction.

    Args:
        before: the state that stable measured in.
        documents: release -> release.json.
    """

    def __init__(
        self, layout: Layout, before: State, after: State, documents: Mapping[str, ReleaseDocument], emit: Emit
    ) -> None:
        self._layout = layout
        self._before = before
        self._after = after
        self._documents = documents
        self._emit = emit
        self._of: Dict[str, Tuple[str, str]] = {}  # program that is measured -> its service and channel
        self.results: Dict[Tuple[str, str], Measured] = {}  # by service and channel

    def emit(self, event: Event) -> None:
        """Tell of it, and keep what a bench that passed has measured."""
        if event["event"] == "check" and event["passed"] and "short" in event["facts"]:
            self.results[self._of[event["program"]]] = cast("Measured", event["facts"])
        self._emit(event)

    def beside(self, service: ServiceDocument) -> ServiceDocument:
        """A candidate, as it is to be proven."""
        return self._with(service, "full", STABLE)

    def placed(self, service: ServiceDocument, waits: bool) -> ServiceDocument:
        """A program in the place where it stays, as it is to be proven; one whose candidate was measured is not anew.

        Args:
            waits: whether its users do.
        """
        lane = self._after.programs[service["program"]].lane
        return (
            service
            if (service["name"], lane) in self.results
            else self._with(service, "short" if waits else "full", lane)
        )

    def _with(self, service: ServiceDocument, form: str, lane: str) -> ServiceDocument:
        if not any(check["kind"] == "bench" for check in service["checks"]):
            return service
        self._of[service["program"]] = service["name"], lane
        names = stable_names(self._documents[self._after.channels[lane]])
        told: List[Any] = []
        for check in service["checks"]:
            more = {"form": form, "stable": self._stable(service["name"], names.get(check["name"], check["name"]))}
            told.append({**priced(check), **more} if check["kind"] == "bench" else check)
        return {**service, "checks": told}

    def _stable(self, service: str, check: str) -> Optional[Measured]:
        """What stable measured last on this hardware with nobody beside it."""
        running = [each for each in self._before.programs.values() if (each.service, each.lane) == (service, STABLE)]
        for release in {each.release for each in running}:
            kept = evidence.read(self._layout, [release]).get(release)
            for record in reversed(kept["records"] if kept else []):
                if record["hardware"] != evidence.hardware():
                    continue
                for event in record["checks"]:
                    if event["check"] == check and event["passed"] and not event["facts"].get("beside", True):
                        return cast("Measured", event["facts"])
        return None

    def by_service(self) -> Dict[str, Measured]:
        return {service: each for (service, _), each in self.results.items()}

    def keep(self) -> None:
        """Write the results for node_exporter, which reads such files (--collector.textfile.directory)."""
        folder = os.path.join(self._layout.shared, _FOLDER)
        files.make_folder(folder, 0o755)
        path = os.path.join(folder, _FILE)
        there = {f'service="{each.service}",channel="{each.lane}"' for each in self._after.programs.values()}
        fresh = {f'service="{service}",channel="{lane}"': each for (service, lane), each in self.results.items()}
        old = [line for line in _old(path) if any(labels in line for labels in there - fresh.keys())]
        new = (line for labels, each in fresh.items() for line in _lines(self._after.project, labels, each))
        lines = sorted([*old, *new])
        files.write(path, "".join(line + "\n" for line in lines), 0o644)


def priced(check: CheckDocument) -> CheckDocument:
    """A bench that knows what this machine costs."""
    told: Any = {**check, "per_hour": _per_hour()}
    return cast("CheckDocument", told)


def _per_hour() -> float:
    """What this machine costs, where it is a rented one with a guard."""
    try:
        return float((files.read_json(os.path.join(BUDGET_GUARD, "terms.json")) or {}).get("per_hour", 0.0))
    except (OSError, ValueError, AttributeError):
        return 0.0  # it is for root alone


def _lines(project: str, labels: str, measured: Measured) -> Iterator[str]:
    seen: Rates = measured.get("full", measured["short"])
    values = {
        "tokens_per_second": seen["tokens_per_second"],
        "first_token_p50_seconds": seen["ttft_p50"],
        "first_token_p95_seconds": seen["ttft_p95"],
        "dollars_per_million_tokens": measured.get("dollars_per_million"),
    }
    for name, value in values.items():
        if value is not None:
            yield f'deploy_bench_{name}{{project="{project}",{labels}}} {value:g}'


def _old(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().splitlines()
    except FileNotFoundError:
        return []

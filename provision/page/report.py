"""What was deployed, as one file: for a pull request, an archive, a post-mortem. Read from hosts, as the page does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from provision import recorded, rollout
from provision.errors import UsageError
from provision.page.rendering import FOLDER, environment
from provision.page.story import Story, story
from provision.recorded import Run
from provision.rollout import Unreached
from provision.rollout.chains import chains

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.project.loaded import LoadedProject
    from provision.rollout import Standing
    from provision.rollout.chain import Chain
    from provision.targets import Deployment


@dataclass(frozen=True)
class Now:
    """How a host or a cluster stands."""

    host: str
    state: str
    says: str = ""
    next: str = ""
    channels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All of it.

    Attributes:
        about: the release, or since when.
        entries: transactions of hosts, the newest first, as `history --json` has them.
        standing: how each of them stands now.
        runs: the commands of this machine that were about it, the newest first.
        chains: what was proven of what is in a channel now, from binaries to host.
    """

    project: str
    target: str
    about: str
    at: float
    entries: Sequence[Mapping[str, Any]]
    standing: Sequence[Now]
    runs: Sequence[tuple[Run, Story]]
    chains: Sequence[Chain] = ()


def report(deployment: Deployment, hosts: Sequence[str], release: str = "", since: float = 0.0) -> Report:
    """Of a release, whose id begins so; or of all since a time. A host that is gone is one of `standing`.

    Raises:
        UsageError: no host and no command of this machine knows of that release, or it is not clear which is meant.
        DeployError: the only host was reached, and does not say what was deployed to it.
    """
    with rollout.watched(deployment, hosts) as watch:
        standing = watch.look()
    entries: list[Any] = [
        {"host": each.host, **entry}
        for each in standing
        if not isinstance(each, Unreached)
        for entry in (*each.project.get("history", ()), *each.project.get("failed", ()))
    ]
    made = _made(deployment.loaded, deployment.target_name, [*map(_now, standing)], entries, release, since)
    if all(isinstance(each, Unreached) for each in standing):
        return made
    return _with(made, chains(deployment)[0], release)


def report_of_cluster(there: ProjectThere, release: str = "", since: float = 0.0) -> Report:
    """As `report`, of a target that is a cluster.

    Raises:
        UsageError: as `report`.
        DeployError: it does not answer, or not to us.
    """
    from provision.cluster import looks

    found = looks.status(there)
    says = "; ".join(filter(None, [found.inventory.degraded, *found.drift]))
    now = Now(
        there.name, found.state, says, "" if found.state == "serving" else "deploy status", found.inventory.channels
    )
    entries = [{"host": there.name, **asdict(entry)} for entry in found.inventory.history]
    from provision.page import clusters

    return _with(_made(there.loaded, there.name, [now], entries, release, since), clusters.chains(there)[0], release)


def _with(made: Report, found: Sequence[Chain], release: str) -> Report:
    return replace(made, chains=[each for each in found if each.release.startswith(release)])


def _now(each: Standing) -> Now:
    if isinstance(each, Unreached):
        return Now(each.host, each.state, each.error.what, each.next)
    return Now(each.host, each.state, "", each.next, each.project.get("state", {}).get("channels", {}))


def _made(
    loaded: LoadedProject, name: str, standing: list[Now], entries: list[dict[str, Any]], release: str, since: float
) -> Report:
    root = loaded.root
    runs = [run for run in recorded.runs(root) if run.target == name]
    if release:
        known = {each for entry in entries for each in entry["channels"].values()} | {
            each for run in runs for each in run.releases
        }
        meant = sorted(each for each in known if each.startswith(release))
        if len(meant) != 1:
            why = (
                f"It may be {' or '.join(each[:12] for each in meant)}." if meant else "No host has it in its history."
            )
            raise UsageError(f"which release is {release}?", why=why, next_step="deploy history")
        entries = [entry for entry in entries if meant[0] in entry["channels"].values()]
        runs = [run for run in runs if meant[0] in run.releases]
        about = f"release {meant[0][:12]}"
    else:
        entries = [entry for entry in entries if entry["time"] >= since]
        runs = [run for run in runs if run.began >= since]
        about = f"since {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(since))}"
    entries.sort(key=lambda entry: entry["time"], reverse=True)
    return Report(loaded.project.name, name, about, time.time(), entries, standing, [(run, story(run)) for run in runs])


def as_html(found: Report) -> str:
    """One file that loads nothing."""
    style = (FOLDER / "static" / "page.css").read_text(encoding="utf-8")
    return environment().get_template("report.html").render(report=found, style=style)

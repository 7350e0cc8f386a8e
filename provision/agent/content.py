"""What lies in a project's folder by content, and what can do without it.

Models, engines, HAProxy, environments and what a prepare step made are shared by releases. What arrived whole stays
through deploys that fail, because the next one needs it: it goes with the last release that served with it, or by age,
or where room is short.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Dict, Iterable, List, Set

from ..contract.layout import Layout
from . import environments, processes
from . import state as states

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument
    from .supervisors import Supervisor

UNUSED_SECONDS = 7 * 24 * 3600.0  # how long what never served is kept
PREPARED = environments.COMPLETE
OCCUPIED_KEPT = 3  # releases that nothing needs but a process of somebody's who stands in their folders
_FAILED_KEPT = 3  # releases that never served; each is small beside its models, but they may be many
_BY_CONTENT = re.compile(r"(sha256-)?[0-9a-f]{64}|\.cache")
_NAME = re.compile(r"(sha256-)?[0-9a-f]{64}|\.cache|\.(incoming|trash)-.+")  # anything else there is somebody's own


def releases(layout: Layout) -> List[str]:
    """The releases on the host."""
    names = os.listdir(layout.releases) if os.path.isdir(layout.releases) else ()
    return sorted(name for name in names if re.fullmatch("[0-9a-f]{64}", name))


def needed(layout: Layout, keep: int, supervisor: Supervisor) -> Set[str]:
    """The releases that run, that one may have to go back to, or in which some process works.

    Args:
        keep: how many of the stable history.
    """
    state, history = states.read_state(layout), states.history(layout)
    found = state.releases()
    stable: List[str] = []
    for entry in reversed(history):
        release = entry.get("channels", {}).get("stable")
        if release and release not in stable:
            stable.append(release)
    back = states.way_back(layout, state, history)
    found |= {*stable[:keep], *([back] if back else ())}
    return found | set(occupied(layout, supervisor, found))


def occupied(layout: Layout, supervisor: Supervisor, others: Set[str]) -> Dict[str, int]:
    """Releases, not among `others`, that are kept because a process works in them; one of those processes each.

    A program of ours may finish on old code for as long as it takes. Of those in which others alone are, a shell
    perhaps, the last ones are kept.
    """
    idle = set(releases(layout)) - others
    found = {name: pids for name, pids in processes.working_in(layout.releases).items() if name in idle} if idle else {}
    if not found:
        return {}
    programs = list(states.read_state(layout).programs)
    ours = supervisor.stray_pids(programs).union(*supervisor.families(programs).values())
    strange = [name for name, pids in found.items() if not pids & ours]
    lapsed = sorted(strange, key=lambda name: age(layout.release(name)))[OCCUPIED_KEPT:]
    return {name: min(pids) for name, pids in found.items() if name not in lapsed}


def served(layout: Layout) -> Set[str]:
    """The releases that some channel has ever pointed to."""
    return {release for entry in states.history(layout) for release in entry.get("channels", {}).values()}


def over(layout: Layout, keep: int, supervisor: Supervisor) -> List[str]:
    """The releases to remove now: those that served and are needed no more, and the older ones that never did."""
    stay = needed(layout, keep, supervisor)
    once = served(layout)
    idle = [name for name in releases(layout) if name not in stay]
    never = sorted((name for name in idle if name not in once), key=lambda name: -age(layout.release(name)))
    return [
        name
        for name in idle
        if name in once or name in never[:-_FAILED_KEPT] or age(layout.release(name)) > UNUSED_SECONDS
    ]


def of(layout: Layout, documents: Iterable[ReleaseDocument]) -> Set[str]:
    """The folders of what these releases share with others."""
    found: Set[str] = set()
    for document in documents:
        found |= {layout.model(model["sha256"]) for model in document["models"].values()}
        found |= {layout.engine(engine) for engine in document.get("engines", {})}
        found |= {layout.environment(name) for name in environments.needed(document)}
        if "traffic" in document and os.path.isdir(layout.haproxies):
            from . import shipped  # of such hosts alone

            found |= shipped.needed(layout)
        found |= {os.path.join(layout.prepared, name) for name in [document.get("prepared")] if name}
    return found


def everything(layout: Layout) -> List[str]:
    """All folders of content that is whole."""
    return [path for path in _entries(layout) if _is_whole(layout, path)]


def halves(layout: Layout) -> List[str]:
    """Folders of content that is not whole: uploads that were cut, prepare steps that failed."""
    return [path for path in _entries(layout) if not _is_whole(layout, path)]


def age(path: str) -> float:
    """Seconds since it arrived: the last name in it was made then."""
    try:
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _is_whole(layout: Layout, path: str) -> bool:
    folder, name = os.path.split(path)
    told_apart = folder in (layout.prepared, layout.environments) and not name.startswith(".")
    return bool(_BY_CONTENT.fullmatch(name)) and (not told_apart or os.path.exists(f"{path}/{PREPARED}"))


def _entries(layout: Layout) -> List[str]:
    everywhere = (layout.models, layout.engines, layout.haproxies, layout.environments, layout.prepared)
    folders = [folder for folder in everywhere if os.path.isdir(folder)]
    named = (os.path.join(folder, name) for folder in folders for name in os.listdir(folder))
    return sorted(path for path in named if _NAME.fullmatch(os.path.basename(path)))

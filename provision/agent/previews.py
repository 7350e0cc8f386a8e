"""Previews of a project: each in a folder of its own beside the project's, and in everything else a project by itself.

Nothing here starts or ends a program. A preview is brought and ended by transactions of its own folder, which know
nothing of the project's; this notes until when one is wanted, and removes the folder of one that has ended.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Sequence

from ..contract.failure import REFUSED, Failure
from ..contract.layout import PREVIEWS, Layout
from . import boot, common, files, guard
from . import state as states
from .folders import create, host_folder
from .locks import Lock, refuse
from .supervisors import Activity

if TYPE_CHECKING:
    from ..contract.facts import PreviewFacts, PreviewNote
    from ..contract.requests import Preview
    from .supervisors import Observed

_LOCK_SECONDS = 3.0  # the transaction that ended it may still be pruning


def there(layout: Layout, observe: Callable[[Sequence[str]], Mapping[str, Observed]]) -> List[PreviewFacts]:
    """The previews beside the project; of one in a folder that others could have written to, nothing but its name.

    Args:
        observe: the supervisor's word on programs; it is asked once for all of them.
    """
    found: List[PreviewFacts] = []
    to_run: Dict[str, List[str]] = {}
    for name in sorted(name for name in os.listdir(layout.previews) if not name.startswith(".")):
        preview = layout.preview_of(name)
        fault = guard.fault(preview)
        if fault is not None:
            nothing: PreviewFacts = {
                "name": name,
                "who": "",
                "until": None,
                "port": 0,
                "ports": 0,
                "expired": False,
                "programs": [],
                "untrusted": str(fault),
            }
            found.append(nothing)
            continue
        noted = files.read_json(preview.preview)
        if noted is not None:
            until, programs = noted["until"], states.read_state(preview).programs
            to_run[name] = [program for program, record in programs.items() if record.is_to_run]
            found.append(
                {
                    "name": name,
                    "who": noted["who"],
                    "until": until,
                    "port": noted["port"],
                    "ports": noted["ports"],
                    "expired": until is not None and until <= time.time(),
                    "programs": sorted(programs),
                }
            )
    seen = observe([program for programs in to_run.values() for program in programs]) if any(to_run.values()) else {}
    for each in found:
        for program in to_run.get(each["name"], ()):
            how, detail = seen[program].activity, seen[program].detail
            if how is not Activity.RUNNING:
                said = detail if how is Activity.EXITED and detail else f"is {how.value}"
                each.setdefault("down", {})[program] = said
    return found


def note(layout: Layout, who: str, request: Preview) -> None:
    """Make the folder a preview's, with what the project has already of what it needs.

    Raises:
        Failure: it is a project's own.
    """
    before = files.read_json(layout.preview)
    if not os.path.dirname(layout.root).endswith(PREVIEWS) or (before is None and os.path.exists(layout.state)):
        raise Failure(REFUSED, f"{layout.root} is no preview's folder.")
    create(layout)
    seconds = request["seconds"]
    until = (before or {}).get("until") if seconds is None else time.time() + seconds
    noted: PreviewNote = {"who": who, "until": until, "port": request["port"], "ports": request["ports"]}
    files.write_json(layout.preview, noted)
    project = Layout(os.path.dirname(layout.root)[: -len(PREVIEWS)])
    if not guard.fault(project):
        for model in request["models"]:
            common.share(project.model(model), layout.model(model))
        for engine in request["engines"]:
            common.share(project.engine(engine), layout.engine(engine))


def forget(layout: Layout, who: str, name: str) -> None:
    """Remove what a preview that has ended left.

    Raises:
        Failure: something of it runs, or somebody is deploying it.
    """
    preview = layout.preview_of(name)
    if not os.path.isdir(preview.root):
        return
    fault = guard.fault(preview)
    if fault is not None:
        raise guard.refusal(preview.root, fault)
    claim, lock = Lock(preview.claim), Lock(preview.lock)
    for each in (claim, lock):
        if not each.take({"who": who, "doing": "removing it"}, _LOCK_SECONDS):
            raise refuse(f"somebody is deploying the preview {name}.", each.holder() or {})
    try:
        running = ", ".join(sorted(states.read_state(preview).programs))
        if running or os.path.exists(preview.journal):
            why = f"It runs {running}." if running else "Its last transaction was cut short."
            next_step = f"deploy down --preview {name}"
            raise Failure(REFUSED, f"the preview {name} has not ended.", why=why, next_step=next_step)
        boot.forget(preview)
        files.remove_tree(preview.root)
        files.remove_tree(os.path.join(host_folder(), "pycache") + preview.agents)
    finally:
        claim.release()
        lock.release()
    try:
        os.rmdir(layout.previews)
    except OSError:
        pass  # others are there

"""What the checks of a transaction saw, recorded beside the releases; and what was signed of it, kept for whoever asks.

Records are made of what was told of the transaction, in which every secret is masked already; how it failed is masked
here. Nothing here signs or judges: this side has no key, and its word counts once somebody who has one took it over.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from ..contract.failure import INTERRUPTED, Failure
from ..contract.layout import Layout
from ..contract.on_purpose import STOP
from ..contract.outcome import COMMITTED
from ..contract.slots import CANDIDATE, home, services_in, stable_names
from . import content, facts, files
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.events import Checked
    from ..contract.evidence import Hardware, Kept, Record
    from ..contract.release import ReleaseDocument
    from .change import Change

_GONE_SECONDS = 365 * 24 * 3600.0  # a few kB each
_DRIVER = "/proc/driver/nvidia/gpus/*/information"


def record(layout: Layout, change: Change, channel: str, began: float, failed: Optional[Failure] = None) -> None:
    """Write down what `change` tried on `channel`, if that was anything.

    Raises:
        OSError: the disk does not take it.
    """
    release = change.after.channels.get(channel)
    if change.kind in ("down", STOP) or release is None or (failed and failed.kind == INTERRUPTED):
        return
    document = change.documents[release]
    checks = _told(layout, change, channel, document, failed)
    if not checks:
        return
    made: Record = {
        "transaction": change.transaction,
        "kind": change.kind,
        "channel": channel,
        "release": release,
        "who": change.who,
        "outcome": failed.kind if failed else COMMITTED,
        "began": int(began),
        "ended": int(time.time()),
        "hardware": hardware(),
        "checks": checks,
        "images": change.noted.get("images", {}),
    }
    files.make_folder(layout.evidence, 0o700)
    files.write_json(os.path.join(layout.evidence, f"{release}.{change.transaction}.record"), made, 0o600)


def read(layout: Layout, releases: Sequence[str]) -> Dict[str, Kept]:
    """What is here about these releases; where none is named, about all that are here themselves."""
    found: Dict[str, Kept] = {}
    wanted = set(releases or content.releases(layout))
    for path in sorted(glob.glob(os.path.join(glob.escape(layout.evidence), "*"))):
        release, _, kind = os.path.basename(path).partition(".")
        if release not in wanted:
            continue
        kept = found.setdefault(release, {"records": [], "signed": []})
        with open(path, encoding="utf-8") as stream:
            if kind.endswith(".record"):
                kept["records"].append(json.load(stream))
            elif kind.endswith(".signed"):
                kept["signed"].append(stream.read())
    for kept in found.values():
        kept["records"].sort(key=lambda item: item["ended"])
    return found


def keep(layout: Layout, release: str, signed: Sequence[str]) -> None:
    """Keep what was signed about a release; what is here already stays as it is."""
    files.make_folder(layout.evidence, 0o700)
    for text in signed:
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        path = os.path.join(layout.evidence, f"{release}.{digest}.signed")
        if not os.path.exists(path):
            files.write(path, text, 0o600)


def prune(layout: Layout) -> None:
    """Remove what is about releases that are long gone: one may be brought here again, and what it proved counts."""
    there = set(content.releases(layout))
    for name in os.listdir(layout.evidence) if os.path.isdir(layout.evidence) else ():
        path = os.path.join(layout.evidence, name)
        if name.partition(".")[0] not in there and content.age(path) > _GONE_SECONDS:
            files.discard(path)


def _told(
    layout: Layout, change: Change, channel: str, document: ReleaseDocument, failed: Optional[Failure]
) -> List[Checked]:
    programs = {
        name: each.service for name, each in change.after.programs.items() if each.lane == channel and each.is_to_run
    }
    candidates = {each["program"]: each["name"] for each in services_in(document, home(CANDIDATE))}
    known = {"": "", **programs, **(candidates if channel == "stable" else {})}
    names = stable_names(document)
    if channel != "stable":
        del known[""]  # the checks of the project are asked of what users reach
    told: List[Checked] = [
        event
        for event in _events(os.path.join(layout.transactions, change.transaction + ".jsonl"))
        if event["event"] == "check" and event["program"] in known
    ]
    for event in told:
        event["check"] = names.get(event["check"], event["check"])
    at_fault = str(failed.details.get("program", "")) if failed else ""
    if failed and at_fault in known and not any(not event["passed"] for event in told):
        why = Masks(change.secrets.items()).message({"why": failed.sentence})["why"]
        told.append(_lived(known[at_fault], why))
    tried = {step.service for step in change.steps if step.lane == channel and (step.changes or change.whole)}
    proven = tried & set(programs.values()) if not failed else ()
    return told + [_lived(service) for service in sorted(proven)]


def _lived(service: str, why: str = "") -> Checked:
    """That a program stayed up while it was proven, or why not; so that a later success answers an earlier failure."""
    return {
        "event": "check",
        "program": "",
        "check": f"{service} runs",
        "passed": not why,
        "seconds": 0.0,
        "attempts": [(why, 1)] if why else [],
        "facts": {},
    }


def _events(path: str) -> List[Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            return [json.loads(line) for line in stream if line.endswith("\n")]
    except FileNotFoundError:  # the disk was full when it began
        return []


def hardware() -> Hardware:
    """What this host is, where it could make a check pass or fail."""
    cpu = facts.cpu()
    return {
        "hostname": os.uname().nodename,
        "arch": os.uname().machine,
        "cpu": cpu["model"],
        "cores": cpu["usable"],
        "memory": facts.memory()["total"],
        "gpus": [_model(path) for path in sorted(glob.glob(_DRIVER))],
    }


def _model(path: str) -> str:
    """Of a GPU, as its driver says without being asked for long."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return next((line.partition(":")[2].strip() for line in stream if line.startswith("Model")), "")

"""What a host is asked before anything is sent there: whether what is planned could be done.

It goes along with the question for facts, so it costs no round trip; only where the host's disk is nearly full, which
files are there already is asked in a second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provision.agent import binaries
from provision.agent.decide import KEEP, REMOVE
from provision.agent.protocol import AgentError
from provision.targets.conversation import Event

if TYPE_CHECKING:
    from pathlib import Path

    from provision.plan import Plan
    from provision.release import Release
    from provision.targets.deployment import Deployment

_BLOCK = 4096  # bytes: the least that a file takes on most file systems
_KEPT: tuple[str, ...] = ("project", "platform", "models", "engines")  # of a release's document, besides the lanes
_TEXTS = ("launch", "checks", "idle")  # of a service: for starting and proving it, not for judging


def question(deployment: Deployment, channel: str, nonce: str) -> dict[str, Any]:
    """What `agent.ahead` judges. Pure, and small: a release without its texts."""
    release = deployment.release
    files = [file for file in release.files if not file.target]
    folders = {file.path.rpartition("/")[0] for file in release.files}
    return {
        "project": deployment.loaded.project.name,
        "channel": channel,
        "keep": deployment.target.keep,
        "nonce": nonce,
        "release": release.id,
        "document": _without_texts(release.document),
        "files": {
            "bytes": sum(-(-file.size // _BLOCK) * _BLOCK for file in files),
            "count": len(release.files) + len(folders),
        },
    }


def entries(release: Release, root: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of each file, in bytes and seconds, as rsync compares them."""
    files = [file for file in release.files if not file.target]
    return [(file.path, file.size, int((root / file.path).lstat().st_mtime)) for file in files]


def refused(deployment: Deployment, plan: Plan, answer: Event) -> Event | None:
    """The error message of what stands against `plan`, or None.

    Args:
        answer: the host's to `question`.
    """
    if answer["refused"] or not plan.ship:
        return dict(answer["refused"]) if answer["refused"] else None
    changed = {step.service for step in plan.steps if step.do not in (KEEP, REMOVE)}
    document = deployment.release.document
    for service in document["lanes"]["stable"]["services"]:
        binary = service["binary"]
        if binary and not binary.startswith("/") and service["name"] in changed:
            try:
                path = str(deployment.loaded.root / binary)
                binaries.check(service, document, path, answer["machine"])
            except AgentError as error:
                return error.message()
    return None


def _without_texts(document: dict[str, Any]) -> dict[str, Any]:
    lanes = {
        lane: {"services": [_service(service) for service in content["services"]]}
        for lane, content in document["lanes"].items()
    }
    return {**{key: document[key] for key in _KEPT if key in document}, "lanes": lanes}


def _service(service: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in service.items() if key not in _TEXTS}
    return {**kept, "manifest": {"name": service["manifest"]["name"]}}

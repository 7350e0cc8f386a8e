"""What a host is asked before anything is sent there: whether what is planned could be done.

It goes along with the question for facts, so it costs no round trip; only where the host's disk is nearly full, which
files are there already is asked in a second one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provision import haproxy
from provision.agent import binaries
from provision.contract.failure import REFUSED, Failure
from provision.contract.slots import FIRST, services_in

if TYPE_CHECKING:
    from pathlib import Path

    from provision.contract.events import ErrorMessage
    from provision.contract.facts import Ahead, Disk
    from provision.contract.release import LaneDocument, Manifest, ReleaseDocument, ServiceDocument
    from provision.contract.requests import AheadQuestion
    from provision.plan import Plan
    from provision.release import Release
    from provision.targets.deployment import Deployment

_BLOCK = 4096  # bytes: the least that a file takes on most file systems


def question(deployment: Deployment, channel: str, nonce: str) -> AheadQuestion:
    """What `agent.ahead` judges. Pure, and small: a release without its texts."""
    release = deployment.release
    files = [file for file in release.files if not file.target]
    folders = {file.path.rpartition("/")[0] for file in release.files}
    asked: AheadQuestion = {
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
    if "traffic" in release.document:
        asked["haproxy"] = haproxy.wheels()
    return asked


def entries(release: Release, root: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of each file, in bytes and seconds, as rsync compares them."""
    found = []
    for file in release.files:
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile: whoever sends it says so
            if not file.target:
                found.append((file.path, file.size, int((root / file.path).lstat().st_mtime)))
    return found


def refused(deployment: Deployment, plan: Plan, answer: Ahead, disk: Disk) -> ErrorMessage | None:
    """The error message of what stands against `plan`, or None.

    Args:
        answer: the host's to `question`.
        disk: the one that it would be on.
    """
    if answer["refused"]:
        return answer["refused"]
    wanted = deployment.target.disk or 0
    if disk["total"] < wanted and not plan.unchanged:
        return Failure(
            REFUSED,
            f"the disk of {deployment.target.path} has {disk['total'] / 1e9:.1f} GB, and "
            f"targets.{deployment.target_name}.disk demands {wanted / 1e9:.1f} GB.",
            next_step="take a machine with a larger one, or lower it in deploy.toml",
        ).message()
    if not plan.ship:
        return None
    changed = {step.service for step in plan.steps if step.changes}
    document = deployment.release.document
    for service in services_in(document, FIRST):
        binary = service["binary"]
        if binary and not binary.startswith("/") and service["name"] in changed:
            try:
                path = str(deployment.loaded.root / binary)
                binaries.check(service, document, path, answer["machine"])
            except Failure as error:
                return error.message()
    return None


def _without_texts(document: ReleaseDocument) -> ReleaseDocument:
    lanes: dict[str, LaneDocument] = {
        lane: {"checks": [], "services": [_service(service) for service in content["services"]]}
        for lane, content in document["lanes"].items()
    }
    return {**document, "links": {}, "prepare": None, "lanes": lanes}


def _service(service: ServiceDocument) -> ServiceDocument:
    manifest: Manifest = {"name": service["manifest"]["name"], "text": ""}
    return {**service, "launch": "", "checks": [], "idle": None, "manifest": manifest}

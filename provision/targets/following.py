"""Images that a target follows by a tag: which digest each stands for now. What is deployed is that digest."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from provision.errors import Refused, UsageError
from provision.images import connect, parse
from provision.project.image_names import DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provision.images import Reference
    from provision.project.schema import Project
    from provision.project.target import Target


def followed(project: Project, target: Target, channel: str) -> tuple[Project, dict[str, str]]:
    """`project` with every image that `target` runs by digest, and what each name that was followed stands for.

    Args:
        channel: of the hosts, which is also the tag where the target takes its channels from the registry.

    Raises:
        Refused: a name stands for nothing.
        RegistryFailed: a registry does not answer.
    """
    stands: dict[str, str] = {}
    services: dict[str, Any] = {}
    for name, service in project.services.items():
        declared = service.image or target.image or project.image
        if not target.runs(name) or declared is None or "@" in declared:
            continue
        exact = _exact(declared, channel if target.channel_from else "", stands)
        services[name] = service.model_copy(update={"image": exact})
    return project.model_copy(update={"services": {**project.services, **services}}), stands


def declared(images: Mapping[str, str], project: Project, target: Target) -> dict[Reference, str]:
    """Of `images`, which a host may have told, those that `target` may run as the project declares them."""
    named = (target.image, project.image, *(service.image for service in project.services.values()))
    ours = {parse(image).name for image in named if image}
    found: dict[Reference, str] = {}
    for name, digest in images.items():
        with contextlib.suppress(UsageError):
            reference = parse(name)
            if reference.name in ours and re.fullmatch(DIGEST, digest):
                found[reference] = digest
    return found


def _exact(declared: str, channel: str, stands: dict[str, str]) -> str:
    reference = parse(declared)
    named = reference.tagged(channel or reference.tag or "latest")
    if str(named) not in stands:
        digest = connect(named, write=False).digest(named.tag)
        if not digest:
            raise Refused(
                f"{named} stands for nothing yet.",
                why="This target follows that tag, and deploys the digest that it stands for.",
                next_step="deploy up --channel canary, then deploy promote"
                if channel == "stable"
                else f"deploy image push {named.name} --to {named.tag}",
            )
        stands[str(named)] = digest
    written = declared[: -len(reference.tag) - 1] if reference.tag else declared
    return f"{written}@{stands[str(named)]}"

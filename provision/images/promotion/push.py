"""From a folder into a registry: first under the digest, then under names.

The channel is moved last and is written down in its history, so that a promotion can tell how long it has been there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provision.errors import Refused
from provision.images.promotion.history import PUSH, Move, append, demand_unwritten, read_history, remember
from provision.images.promotion.move import put_channel
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import PublicKey, SigningKey
from provision.images.registry.documents import Descriptor, ImageManifest, artifact
from provision.images.registry.layout import ImageFolder
from provision.images.registry.referrers import attach, put_empty
from provision.images.registry.repository import Repository

_PROMOTED = "stable"
_REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Attachment:
    """A document about the image that goes with it: a bill of materials, a build record."""

    media_type: str
    content: bytes


def push(
    folder: ImageFolder,
    target: Repository,
    channel: str,
    *,
    commit: str,
    attachments: Sequence[Attachment],
    who: str,
    where: str,
    now: datetime,
    key: SigningKey | None,
    trusted: Sequence[PublicKey],
    seen: Seen,
    on_event: Callable[[Mapping[str, Any]], None],
) -> tuple[ImageManifest, str]:
    """Publish the image in `folder` as `channel`, and as `sha-COMMIT` where a commit is known.

    Args:
        commit: what it was built from; empty: what its own label says.
        key: signs what is written down; without one nothing is, and `min_age` will not find since when it is there.
        trusted: whose history is gone on with; that of others is set aside.

    Returns:
        The image, and what the channel stood for before.

    Raises:
        Refused: the channel is one that only a promotion moves.
        UsageError: the folder holds no image.
        RegistryFailed: the registry did not take it.
    """
    history = read_history(target, channel, trusted, seen)
    # Also by moves that do not count: who holds no public keys cannot tell.
    if channel == _PROMOTED or any(move.kind != PUSH for move in (*history.moves, *history.claimed)):
        raise Refused(
            f"{target}:{channel} is not pushed to.",
            why="It stands for what was proven, and only a promotion moves it.",
            next_step=f"push to another tag, then: deploy image promote {target} --to {channel}",
        )
    image, old = folder.manifest, target.digest(channel)
    _send(folder, target, image, on_event)
    for item in attachments:
        _attach(target, image, item)
    if commit := commit or _revision(folder, image):
        tag = target.reference.tagged(f"sha-{commit}").tag
        known = target.digest(tag)
        if known and known != image.digest:
            text = f"{target}:{tag} was {known}: the same commit gave other bytes this time"
            on_event({"event": "warning", "text": text})
        target.put(image, tag)
    is_known = history.since(image.digest) is not None
    if old == image.digest and (is_known or key is None):
        return image, old
    demand_unwritten(target, history)
    if key is None:
        text = f"there is no key, so nothing says since when {channel} is {image.digest}, as min_age would ask"
        on_event({"event": "warning", "text": text})
    else:
        if why := history.against(old):
            on_event({"event": "warning", "text": f"{why}; it begins anew"})
            history = history.anew
        history = append(target, history, Move(PUSH, old, image.digest, now, who, where), image, key)
    if old != image.digest:
        put_channel(target, channel, old, image)
    if key is not None:
        remember(seen, target, history)
    return image, old


def _send(
    folder: ImageFolder, target: Repository, image: ImageManifest, on_event: Callable[[Mapping[str, Any]], None]
) -> None:
    for child in image.children:
        _send(folder, target, folder.child(child), on_event)
    for blob in image.blobs:
        how = target.send_blob(blob, folder.stream(blob))
        on_event({"event": "blob", "digest": blob.digest, "bytes": blob.size, "how": how})
    target.put(image)


def _attach(target: Repository, image: ImageManifest, item: Attachment) -> None:
    put_empty(target)
    target.put_blob(item.content)
    attach(target, artifact(item.media_type, [Descriptor.of(item.media_type, item.content)], subject=image.descriptor))


def _revision(folder: ImageFolder, image: ImageManifest) -> str:
    """The commit that the image says it was built from; that of its first platform, where it has several."""
    while image.children:
        image = folder.child(image.children[0])
    try:
        config = json.loads(b"".join(folder.stream(Descriptor.from_json(image.document["config"]))))
        return str(config["config"]["Labels"][_REVISION])
    except (ValueError, KeyError, TypeError):
        return ""

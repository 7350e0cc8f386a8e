"""An image in a registry, as lines and as an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from provision.images import Reference
from provision.images.promotion.evidence import Finding
from provision.images.promotion.history import History, Move
from provision.images.registry.documents import ImageManifest
from provision.project.units import size

_SHOWN = 10  # moves; --json has all


def inspect_event(
    reference: Reference, manifest: ImageManifest, found: Sequence[Finding], history: History
) -> dict[str, Any]:
    made = history.made(manifest.digest)
    return {
        "event": "image",
        "image": str(reference),
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "platforms": _platforms(manifest),
        "evidence": [finding_event(item) for item in found],
        "history": [move_event(move, made=move in made) for move in history.moves],
        "history_problem": history.problem,
    }


def inspect_lines(
    reference: Reference, manifest: ImageManifest, found: Sequence[Finding], history: History
) -> Iterator[str]:
    yield f"{reference.name}@{manifest.digest}"
    if manifest.children:
        yield f"  an index of {', '.join(_platforms(manifest))}"
    else:
        yield f"  {size(sum(blob.size for blob in manifest.blobs))} in {len(manifest.blobs)} blobs"
    for item in found:
        yield f"  {finding_line(item)}"
    if not found:
        yield "  no evidence"
    made = history.made(manifest.digest)
    if history.problem:
        yield f"  moves of {history.channel} do not count: {history.tag} {history.problem}"
    if history.moves:
        yield f"  moves of {history.channel}, newest first:"
    for move in history.moves[: -_SHOWN - 1 : -1]:
        yield f"    {move_line(move, made=move in made)}"


def finding_event(item: Finding) -> dict[str, Any]:
    return {**asdict(item), "passed": item.evidence.passed if item.evidence and item.counts else None}


def finding_line(item: Finding) -> str:
    """One piece of evidence: what it says, or why it does not count."""
    evidence = item.evidence
    if evidence is None or not item.counts:
        return f"evidence {item.artifact[:19]} does not count: it {item.problem}"
    failed = [check.name for check in evidence.checks if not check.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "passed: " + ", ".join(c.name for c in evidence.checks)
    return f"{verdict} ({evidence.at:%Y-%m-%d %H:%M} UTC, {evidence.who} on {evidence.where}, key {item.key})"


def move_event(move: Move, *, made: bool) -> dict[str, Any]:
    return {**move.as_json(), "made": made}


def move_line(move: Move, *, made: bool) -> str:
    what = "" if made else ", begun and not made"
    return f"{move.at:%Y-%m-%d %H:%M} UTC  {move.kind:8}  {move.new[:19]}  {move.who} ({move.where}){what}"


def _platforms(manifest: ImageManifest) -> list[str]:
    platforms = [item.get("platform") or {} for item in manifest.document.get("manifests", [])]
    return [f"{item.get('os', '?')}/{item.get('architecture', '?')}" for item in platforms]

"""An image in a registry, as lines and as an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from provision.cli.sentences import size
from provision.images import Reference
from provision.images.documents import Manifest
from provision.images.evidence import Finding


def inspect_event(reference: Reference, manifest: Manifest, found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "event": "image",
        "image": str(reference),
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "platforms": _platforms(manifest),
        "evidence": [{**asdict(item), "passed": item.evidence.passed if item.evidence else None} for item in found],
    }


def inspect_lines(reference: Reference, manifest: Manifest, found: Sequence[Finding]) -> Iterator[str]:
    yield f"{reference.name}@{manifest.digest}"
    if manifest.children:
        yield f"  an index of {', '.join(_platforms(manifest))}"
    else:
        yield f"  {size(sum(blob.size for blob in manifest.blobs))} in {len(manifest.blobs)} blobs"
    for item in found:
        yield f"  {finding_line(item)}"
    if not found:
        yield "  no evidence"


def finding_line(item: Finding) -> str:
    """One piece of evidence: what it says, or why it does not count."""
    evidence = item.evidence
    if evidence is None:
        return f"evidence {item.artifact[:19]} does not count: it {item.problem}"
    failed = [check.name for check in evidence.checks if not check.passed]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "passed: " + ", ".join(c.name for c in evidence.checks)
    return f"{verdict} ({evidence.at:%Y-%m-%d %H:%M} UTC, {evidence.who} on {evidence.where}, key {item.key})"


def _platforms(manifest: Manifest) -> list[str]:
    platforms = [item.get("platform") or {} for item in manifest.document.get("manifests", [])]
    return [f"{item.get('os', '?')}/{item.get('architecture', '?')}" for item in platforms]

"""Evidence about a release: made of what a host recorded, kept on hosts, judged as that of an image is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from provision.images.promotion.chain import chained
from provision.images.promotion.evidence import CheckResult, Evidence, Finding, OnHost, read_envelope
from provision.images.promotion.signing import PublicKey
from provision.images.registry.documents import digest_of

if TYPE_CHECKING:
    from provision.contract.events import Checked
    from provision.contract.evidence import Record

_LATEST = int(datetime.max.replace(tzinfo=UTC).timestamp())  # hosts may say anything
_AGAIN = "prove it again: deploy smoke --sign --anew"


def digest_of_release(release: str) -> str:
    """A release's id, as the digest that evidence is about; empty where it is none."""
    return f"sha256:{release}" if re.fullmatch("[0-9a-f]{64}", release) else ""


def findings_on_hosts(
    release: str, envelopes: Iterable[str], trusted: Sequence[PublicKey], known: Mapping[str, datetime] | None = None
) -> list[Finding]:
    """All evidence about `release`, newest first; what does not count stands last.

    Args:
        envelopes: of all hosts that were asked.
        known: artifacts that were there, and from when they are.
    """
    known = known or {}
    digest = digest_of_release(release)
    # What is signed is ASCII; a host may say anything, also half of a character, as JSON has it.
    there = {digest_of(text.encode()): text for text in envelopes if text.isascii()}
    read = [read_envelope(name, text.encode(), digest, trusted) for name, text in there.items()]
    named = {name for item in read if item.evidence for name in item.evidence.previous or ()}
    lost = sorted((named | known.keys()) - there.keys())
    return chained([*read, *(Finding(name, problem="is gone", lost=True) for name in lost)], {}, known, again=_AGAIN)


def evidence_of(record: Record, project: str, target: str, host: str, previous: tuple[str, ...]) -> Evidence:
    """What a host recorded, as evidence. Its time is that of the checks, whenever it is signed."""
    place = OnHost(
        target=target,
        host=host,
        channel=record["channel"],
        began=_time(record["began"]),
        hardware={**record["hardware"]},
        record=record["transaction"],
    )
    return Evidence(
        name=project,
        digest=digest_of_release(record["release"]),
        checks=results(record["checks"]),
        at=_time(record["ended"]),
        who=record["who"],
        where=f"{host} of target {target}",
        previous=previous,
        on_host=place,
    )


def results(checks: Iterable[Checked]) -> tuple[CheckResult, ...]:
    """The checks by their names; of one that ran twice, as beside the old release and then in its place, the worse."""
    found: dict[str, CheckResult] = {}
    for check in checks:
        name = check["check"]
        if name not in found or found[name].passed:
            facts = {**check["facts"], **({} if check["passed"] else {"attempts": check["attempts"][-3:]})}
            found[name] = CheckResult(name, check["passed"], check["seconds"], facts)
    return tuple(found.values())


def recorded(found: Iterable[Finding]) -> set[str]:
    """The records that some evidence was made of."""
    places = (item.evidence.on_host for item in found if item.evidence)
    return {place.record for place in places if place}


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0), _LATEST), UTC)

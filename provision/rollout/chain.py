"""The chain from the binaries of a release to where it serves: what was proven, by whom, and what is missing.

Four steps: binaries (what they were built of), image (what was tried of its digest), channel (who moved it there), and
host (what its checks saw). What can't be told is missing, and is said with the command that would make it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provision.contract.model_types import COMMIT_LABEL, PROFILE_LABEL, SOURCE_LABEL
from provision.errors import DeployError

if TYPE_CHECKING:
    from provision.images.promotion.evidence import Finding
    from provision.images.promotion.whole import OfImage

BINARIES, IMAGE, CHANNEL, HOST = "binaries", "image", "channel", "host"
PROVEN, AGAINST, MISSING = "proven", "against", "missing"
_REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Program:
    """What a service of a release runs.

    Attributes:
        image: as it is pulled; empty where it runs in none.
        binary: a path in the release, or absolute; empty where none is declared.
        sha256: of that, where it is in the release.
        engine: a pinned wheel, with its version.
    """

    service: str
    image: str = ""
    binary: str = ""
    sha256: str = ""
    engine: str = ""


@dataclass(frozen=True)
class Link:
    """One step."""

    step: str
    of: str
    state: str  # proven, against, missing
    says: str
    at: float = 0.0
    who: str = ""
    key: str = ""
    next: str = ""

    @property
    def told(self) -> str:
        """In a line: what it says, who did it and when, with which key."""
        when = f", {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M} UTC" if self.at else ""
        who = f" (by {self.who}{when}{f', key {self.key}' if self.key else ''})" if self.who else ""
        return self.says + who


@dataclass(frozen=True)
class Chain:
    """That of a release in a channel, with who has it."""

    channel: str
    release: str
    hosts: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def whole(self) -> bool:
        return all(each.state == PROVEN for each in self.links)


def links(
    programs: Iterable[Program],
    images: Mapping[str, OfImage | DeployError],
    built: Mapping[str, Any],
    last: Link,
) -> tuple[Link, ...]:
    """All steps of one release.

    Args:
        images: what registries say, by the name that is pulled.
        built: build.json of this project's own build; empty where there is none.
        last: that of the host.
    """
    programs = list(programs)
    found = [_binaries(each, images, built) for each in programs if each.image or each.binary or each.engine]
    for name in dict.fromkeys(each.image for each in programs if each.image):
        there = images.get(name)
        found += [_image(name, there), _channel(name, there)]
    return (*dict.fromkeys(found), last)


def _binaries(program: Program, images: Mapping[str, OfImage | DeployError], built: Mapping[str, Any]) -> Link:
    name = program.service
    if program.engine:
        return Link(BINARIES, name, PROVEN, f"the wheel of {program.engine}, pinned by its sha256 in the release")
    if program.image and not program.binary:
        there = images.get(program.image)
        labels = there.labels if there and not isinstance(there, DeployError) else {}
        if SOURCE_LABEL in labels:
            says = f"compiled from {labels[SOURCE_LABEL]} at {labels.get(COMMIT_LABEL, '?')[:12]}"
            says += f" ({labels[PROFILE_LABEL]})" if PROFILE_LABEL in labels else ""
            return Link(BINARIES, name, PROVEN, f"{says}, as its image says")
        if labels.get(_REVISION):
            return Link(BINARIES, name, PROVEN, f"built at revision {labels[_REVISION][:12]}, as its image says")
        return Link(BINARIES, name, MISSING, "its image does not say what it was built of", next="deploy image build")
    if program.binary.startswith("/"):
        return Link(BINARIES, name, MISSING, f"{program.binary} is the host's own", next="deploy native build")
    return _own(program, built)


def _own(program: Program, built: Mapping[str, Any]) -> Link:
    digests = {each["sha256"] for each in built.get("binaries", {}).values()}
    if program.sha256 and program.sha256 in digests:
        source = built.get("source", {})
        modified = ", modified" if source.get("modified") else ""
        says = f"{source.get('name', '?')} at {str(source.get('commit', '?'))[:12]}{modified} ({built.get('profile')})"
        return Link(BINARIES, program.service, PROVEN, f"{program.binary} was built here of {says}")
    says = f"build.json of this machine does not know {program.binary} ({program.sha256[:12] or 'not told'})"
    return Link(BINARIES, program.service, MISSING, says, next="deploy native build, then: deploy up")


def _image(name: str, there: OfImage | DeployError | None) -> Link:
    if there is None or isinstance(there, DeployError):
        return _silent(IMAGE, name, there)
    newest = next((each for each in there.findings if each.counts), None)
    if newest is None:
        blocked = next((each.problem for each in there.findings if each.blocks), "")
        says = f"its evidence {blocked}" if blocked else "nobody has signed that it was tried"
        state = AGAINST if blocked else MISSING
        next_ = f"deploy image smoke {_at(there)}, then: deploy image attest"
        return Link(IMAGE, name, state, f"{there.digest[:19]}: {says}", next=next_)
    return of_finding(IMAGE, name, newest)


def _channel(name: str, there: OfImage | DeployError | None) -> Link:
    if there is None or isinstance(there, DeployError):
        return _silent(CHANNEL, name, there)
    for channel, history in there.channels.items():
        if (move := there.move(channel)) and not history.problem:
            says = f"{channel} came to {there.digest[:19]} by {move.kind}"
            says += f", by {len(move.evidence)} pieces of evidence" if move.evidence else ", without evidence"
            return Link(CHANNEL, name, PROVEN, says, move.at.timestamp(), f"{move.who} ({move.where})")
    for history in there.channels.values():
        if history.problem:
            return Link(CHANNEL, name, AGAINST, f"{history.tag} {history.problem}", next=f"deploy image inspect {name}")
    which = " and ".join(there.channels)
    says = f"no signed move brought {which} there" if which else f"no channel stands for {there.digest[:19]}"
    return Link(CHANNEL, name, MISSING, says, next=f"deploy image promote {there.name}")


def _silent(step: str, name: str, why: DeployError | None) -> Link:
    if why is None:
        return Link(step, name, MISSING, "its registry was not asked yet")
    return Link(step, name, MISSING, f"its registry does not say: {why.what}", next=why.next_step)


def _at(there: OfImage) -> str:
    return f"{there.name}@{there.digest}"


def of_finding(step: str, of: str, found: Finding) -> Link:
    """What a piece of evidence that counts says."""
    evidence = found.evidence
    assert evidence is not None  # noqa: S101  (it counts)
    failed = [each.name for each in evidence.checks if not each.passed]
    count = len(evidence.checks)
    says = f"{', '.join(failed)} failed" if failed else f"{count} {'check' if count == 1 else 'checks'} passed"
    state = PROVEN if evidence.passed else AGAINST
    who = f"{evidence.who}, {evidence.where}"
    return Link(step, of, state, says, evidence.at.timestamp(), who, found.key)


def of_place(host: str, found: Sequence[Finding] | DeployError, against: Sequence[str], unsigned: int) -> Link:
    """The last step: what the checks of a host, or of a cluster, saw of the release."""
    if isinstance(found, DeployError):
        return Link(HOST, host, MISSING, found.what, next=found.next_step)
    newest = next((each for each in found if each.counts), None)
    if against:
        next_ = "deploy evidence sign, where the key is" if unsigned else "deploy smoke --sign, where the key is"
        return Link(HOST, host, AGAINST if newest else MISSING, "; ".join(against), next=next_)
    return of_finding(HOST, host, newest) if newest else Link(HOST, host, MISSING, "nothing was tried there")


def together(each: Iterable[tuple[str, str, str, tuple[Link, ...]]]) -> Iterator[Chain]:
    """Hosts that say the same, as one: of channel, release, host and links."""
    found: dict[tuple[str, str, tuple[Link, ...]], list[str]] = {}
    for channel, release, host, made in each:
        *above, last = made
        # That of the place differs by its name alone.
        key = channel, release, (*above, Link(**{**vars(last), "of": ""}))
        found.setdefault(key, []).append(host)
    return (Chain(channel, release, tuple(hosts), made) for (channel, release, made), hosts in found.items())

"""What stands between a target's hosts and the next deploy, asked of all of them; nothing is changed there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from provision import errors
from provision.contract.acme import complaints
from provision.hosts import bootstrap, run_on_hosts
from provision.rollout.hosts import chosen
from provision.targets import Deployment, HostConversation, plan_up

if TYPE_CHECKING:
    from provision.contract.acme import Tried
    from provision.hosts import HostConnection, HostSpec

_CLOCK_SECONDS = 5.0  # a clock that is further off confuses evidence, logs and certificates
_CERTIFICATE_DAYS = 21  # what renews itself does so a month before the end, so it has failed for a while
_LEAST_FREE = 1_000_000_000  # bytes: a release, its logs and a journal have room in them


class Word(StrEnum):
    """How something stands."""

    FINE = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about, in a word: rsync, key, clock.
        text: how it stands, as a sentence.
        next_step: the one command, or sentence, that mends it; empty where there is nothing to mend.
    """

    word: Word
    subject: str
    text: str
    next_step: str = ""


@dataclass(frozen=True)
class HostFindings:
    """What was found on one host."""

    host: str
    findings: tuple[Finding, ...]


def doctor(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[HostFindings]:
    """Look at each host; whatever goes wrong with one is a finding."""
    deployment.build_ahead("stable")

    def look(spec: HostSpec) -> HostFindings:
        found: list[Finding] = []
        try:
            found.extend(_on(deployment, spec))
        except errors.DeployError as error:
            # What was seen before stays; a generator that raises has given all of that.
            found.append(_refused(error))
        return HostFindings(spec.name, tuple(found))

    results = run_on_hosts(chosen(deployment, hosts), look)
    for result in results:
        if result.error is not None:
            raise result.error
    return [result.value for result in results if result.value]


def _on(deployment: Deployment, spec: HostSpec) -> Iterator[Finding]:
    began = time.monotonic()
    with deployment.connect(spec) as connection:
        yield Finding(Word.FINE, "connection", f"reachable, and its key is the pinned one ({_took(began)})")
        tools = bootstrap.look(connection)
        wanted = (*bootstrap.EVERYWHERE, *deployment.target.can.tools)
        python_named = deployment.target.python != "python3"
        missing = [tool for tool in wanted if tool not in tools.present and not (tool == "python3" and python_named)]
        for tool in missing:
            yield Finding(Word.PROBLEM, tool, f"{tool} is not there", f"deploy host bootstrap {spec.name}")
        yield _clock(connection)
        yield from _certificates(deployment, connection)
        if "python3" in missing:
            return  # nothing else can be asked
        with deployment.converse(connection, spec, install=False) as conversation:
            yield from _asked(HostConversation(deployment, spec, connection, conversation, began))


def _asked(session: HostConversation) -> Iterator[Finding]:
    """What the agent tells."""
    target = session.deployment.target
    facts = session.facts({"host": True, "outside": True})
    machine, project = facts["host"], facts["project"]
    yield Finding(Word.FINE, "python", f"Python {machine['python']} on Linux {machine['kernel']}, {machine['arch']}")
    yield _supervisor(facts["supervisor"], session.spec.name)
    yield from _had(project.get("certificates", {}))
    disk = project["disk"]
    room = f"{disk['free'] / 1e9:.1f} of {disk['total'] / 1e9:.1f} GB free below {target.path}"
    if disk["free"] < _LEAST_FREE:
        yield Finding(Word.WARNING, "room", room, "free some there, or let `keep` of the target keep fewer releases")
    else:
        yield Finding(Word.FINE, "room", room)
    if untrusted := project.get("untrusted"):
        yield Finding(Word.PROBLEM, "folder", untrusted["what"], untrusted["next"])
        return
    if holder := project["holder"]:
        who = f"{holder.get('who', 'somebody')} is {holder.get('doing', 'deploying')}"
        yield Finding(Word.WARNING, "lock", who, "deploy status")
        return
    if project["recovery_needed"]:
        yield Finding(Word.PROBLEM, "journal", "a transaction was cut short there", "deploy unlock")
        return
    planned = plan_up(session, "stable")
    if refused := planned.refused:
        yield Finding(
            Word.PROBLEM, "deploy", f"up would be refused: {_sentences(refused.what, refused.why)}", refused.next_step
        )
    else:
        yield Finding(Word.FINE, "deploy", "up has nothing to do" if planned.unchanged else "up would go ahead")


def _supervisor(facts: dict[str, object], host: str) -> Finding:
    kind, state = facts.get("kind"), str(facts.get("state", ""))
    if state in ("running", "startable"):
        text = f"{kind} {facts.get('version') or ''}".strip() + (
            "" if state == "running" else ", which a deploy starts"
        )
        return Finding(Word.FINE, "supervisor", text)
    if state == "missing":
        return Finding(Word.PROBLEM, "supervisor", f"{kind} is not there", f"deploy host bootstrap {host}")
    return Finding(Word.PROBLEM, "supervisor", f"{kind}: {state}", "deploy plan")


def _clock(connection: HostConnection) -> Finding:
    before = time.time()
    said = connection.run(["date", "+%s"], timeout=30).stdout.strip()
    after = time.time()
    if not re.fullmatch(rb"[0-9]{1,12}", said):
        return Finding(Word.WARNING, "clock", "its clock could not be read", "on the host: date +%s")
    # It tells whole seconds, of a moment between the two.
    off = max(before - int(said) - 1, int(said) - after, 0.0)
    if off > _CLOCK_SECONDS:
        way = "behind" if before > int(said) else "ahead of"
        text = f"its clock is {off:.0f} s {way} this machine's"
        return Finding(Word.WARNING, "clock", text, "where the host is wrong, as root there: timedatectl set-ntp true")
    return Finding(Word.FINE, "clock", "its clock is right by this machine's")


def _certificates(deployment: Deployment, connection: HostConnection) -> Iterator[Finding]:
    project, target = deployment.loaded.project, deployment.target
    if not any(each.proxy and each.proxy.speaks_tls for each in project.services.values()):
        return
    from provision.rollout.certificates import shown

    now = datetime.now(UTC)
    for each in shown(connection, project, target):
        where = f"port {each.port}" + (f" shows {each.name} a certificate" if each.name else " shows a certificate")
        days = (each.until - now).days
        if each.until <= now:
            text, word = f"{where} that ended on {each.until:%Y-%m-%d}", Word.PROBLEM
        else:
            text = f"{where} that is good for {days} days, until {each.until:%Y-%m-%d}"
            word = Word.WARNING if days < _CERTIFICATE_DAYS else Word.FINE
        files = getattr(project.services[each.service].proxy, "certificate", None)
        mend = (
            f"renew {files}, and let it be read again: docs/deploy.toml.md, Traffic" if files else "deploy logs keeper"
        )
        yield Finding(word, "certificate", text, "" if word is Word.FINE else mend)


def _had(certificates: dict[str, Tried]) -> Iterator[Finding]:
    """What authorities said that were asked by the host itself."""
    for service, text in complaints(certificates).items():
        word = Word.WARNING if time.time() < certificates[service]["until"] else Word.PROBLEM
        mend = "let its names lead to this host, and everybody in at port 80"
        yield Finding(word, "certificate", f"{service}: {text}", f"{mend}; deploy logs keeper")


def _refused(error: errors.DeployError) -> Finding:
    text = _sentences(error.what, error.why)
    subject = "key" if isinstance(error, (errors.HostKeyUnknown, errors.HostKeyChanged)) else "connection"
    if isinstance(error, errors.Refused):
        subject = "deploy"
    return Finding(Word.PROBLEM, subject, text, error.next_step)


def _sentences(what: str, why: str) -> str:
    return f"{what.removesuffix('.')}. {why}" if why else what


def _took(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"

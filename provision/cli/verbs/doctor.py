"""`deploy doctor`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session, declared_targets
from provision.cli.verb import verb
from provision.errors import DeclarationError, DeployError, Exit, UsageError

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.rollout.doctor import Finding
    from provision.targets import Event


@verb("doctor", example="deploy doctor\ndeploy doctor --target vast --json | jq 'select(.word == \"problem\")'")
def command(session: Session) -> Exit:
    """See what stands between this machine, the targets' hosts, and the next deploy.

    Of this machine: programs, keys, the SSH agent. Of the project: deploy.toml and its secrets. Of each host: whether
    it is reachable and shows its pinned key, room, clock, supervisor, what it lacks, and whether `up` would be refused.
    Each problem comes with the one command that mends it, and the exit status is 1 then. Nothing is changed.
    """
    from provision.cli.doctoring import this_machine
    from provision.hosts import SANDBOX
    from provision.rollout.doctor import Finding, Word, doctor
    from provision.targets import Deployment

    counts = dict.fromkeys(Word, 0)

    def tell(findings: Iterable[Finding], target: str = "", host: str = "") -> None:
        for each in findings:
            counts[each.word] += 1
            facts = {"word": each.word, "subject": each.subject, "text": each.text, "next": each.next_step}
            session.console.answer({"event": "finding", "target": target, "host": host, **facts}, _lines(each))

    def heard(event: Event) -> None:
        if event["event"] in ("message", "warning"):  # a throwaway host that was started, what a release warns of
            session.console.event(event)

    heading = session.console.heading
    try:
        targets, project = declared_targets(session.directory), ""
    except (UsageError, DeclarationError) as error:
        targets, project = {}, str(error)
    names = [session.named_target] if session.named_target else list(targets)
    heading("this machine")
    tell(this_machine(sandbox=any(targets.get(name, {}).get("hosts") == [SANDBOX] for name in names)))
    if project:
        text, _, next_step = project.partition("\nnext: ")
        tell([Finding(Word.PROBLEM, "project", text, next_step or "deploy check")])
    for name in names if not project else ():
        heading(f"target {name}")
        loaded, problems = _load(session, name)
        tell(problems, name)
        if loaded is None:
            continue
        deployment = Deployment(loaded, name, on_event=heard, ask=session.console.ask)
        try:
            with session.console.live():
                found = doctor(deployment, session.hosts)
        except DeployError as error:  # of the project, not of one host
            tell(
                [Finding(Word.PROBLEM, "project", str(error).partition("\n")[0], error.next_step or "deploy check")],
                name,
            )
            continue
        for host in found:
            heading(f"  {host.host}")
            tell(host.findings, name, host.host)
    problems_, warnings = counts[Word.PROBLEM], counts[Word.WARNING]
    session.console.answer(
        {"event": "result", **{str(word): count for word, count in counts.items()}},
        f"{problems_} problem{'s' * (problems_ != 1)}, {warnings} warning{'s' * (warnings != 1)}",
    )
    return Exit.FAILED if problems_ else Exit.DONE


def _lines(finding: Finding) -> Iterator[str]:
    yield f"    {finding.word:<8} {finding.subject}: {finding.text}"
    if finding.next_step:
        yield f"             next: {finding.next_step}"


def _load(session: Session, target: str) -> tuple[LoadedProject | None, list[Finding]]:
    """The project on a target, and what is wrong with it. Secrets are looked for, not asked for."""
    from dataclasses import replace

    from provision.project import load
    from provision.project.secret_names import declared
    from provision.project.secrets import Secrets
    from provision.rollout.doctor import Finding, Word

    refuse_fork("no host is looked at")
    found: list[Finding] = []
    try:
        load(session.directory, target=target, ask_commands=False)
    except DeclarationError as error:
        for problem in error.problems:
            secret = re.fullmatch(r"(\w+) is (?:not set|empty)\.", problem.message)
            next_step = f"deploy secrets set {secret[1]}" if secret else "deploy check"
            found.append(Finding(Word.PROBLEM, "secret" if secret else "project", str(problem), next_step))
    except UsageError as error:
        return None, [Finding(Word.PROBLEM, "project", error.what, error.next_step or "deploy check")]
    try:
        loaded = load(session.directory, target=target, demand_secrets=False)
    except DeclarationError:
        return None, found
    # Hosts are asked what a deploy needs, for which any value will do.
    anything = Secrets(dict.fromkeys(declared(loaded.declaration.values), "anything"))
    return replace(loaded, secrets=anything), found

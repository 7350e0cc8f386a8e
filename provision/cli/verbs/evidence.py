"""`deploy evidence`: show, verify, sign."""

from __future__ import annotations

from dataclasses import asdict

import click

from provision import rollout
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import Exit

_channel = click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)


@click.group("evidence")
def command() -> None:
    """Show, verify and sign what checks saw on hosts.

    A host records it with each deploy. Who has the project's key, a laptop or CI, signs that; evidence.pub says whose
    signature counts. With `require = "evidence"` a target lets nothing become stable without it.
    """


@verb("show", example="deploy evidence show --channel canary")
@_channel
def show(session: Session, channel: str) -> None:
    """Show the evidence about the release in a channel, host by host."""
    _tell(session, channel)


@verb("verify", example="deploy evidence verify --channel canary && deploy promote")
@_channel
def verify(session: Session, channel: str) -> int:
    """Say whether that evidence would let the release become stable.

    Exit status 4 where it would not, as `deploy promote` gives it, and 1 where no host has a release there.
    """
    told = _tell(session, channel)
    return Exit.REFUSED if any(item.against for item in told) else Exit.DONE if told else Exit.FAILED


@verb("sign", example="deploy evidence sign --target fleet")
def sign(session: Session) -> None:
    """Sign what hosts recorded and nobody signed yet.

    For when a deploy was made without the key. It counts from when the checks ran, not from now.
    """
    refuse_fork("nothing is signed")
    with session.console.live():
        made = rollout.sign(session.deployment, session.specs)
    for evidence in made:
        verdict = "passed" if evidence.passed else "FAILED"
        session.console.answer(
            {"event": "result", "passed": evidence.passed, **asdict(evidence)},
            f"{evidence.where}: {evidence.digest[7:19]} {verdict}, {len(evidence.checks)} checks, signed",
        )
    if not made:
        session.console.note("everything that was recorded is signed")


def _tell(session: Session, channel: str) -> list[rollout.Verified]:
    from provision.cli.render.image import finding_event, finding_line

    with session.console.live():
        found = rollout.verify(session.deployment, session.specs, channel)
    for item in found:
        lines = [f"{item.host}: {channel} is {item.release[:12]}", *(f"  {finding_line(one)}" for one in item.found)]
        if item.unsigned:
            lines.append(f"  {item.unsigned} recorded and not signed; next: deploy evidence sign, where the key is")
        lines += [f"  against it: {text}" for text in item.against] or ["  it may be stable"]
        facts = {**asdict(item), "found": [finding_event(one) for one in item.found]}
        session.console.answer({"event": "evidence", "channel": channel, **facts}, lines)
    if not found:
        session.console.note(f"no host has a release in {channel}")
    return found


for _verb in (show, verify, sign):
    command.add_command(_verb)

"""`deploy image keys`: what evidence needs, once."""

from __future__ import annotations

import os
from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.images.promotion.signing import default_private, generate, own_key, read_public

# What each environment of the workflows holds: secrets, then variables. The first two sign, the others reach hosts.
ENVIRONMENTS = {
    "canary": (("DEPLOY_EVIDENCE_KEY",), ()),
    "promotion": (("DEPLOY_EVIDENCE_KEY",), ()),
    "staging": (("DEPLOY_SSH_KEY", "DEPLOY_EVIDENCE_KEY"), ("VAST_HOST", "VAST_PORT", "KNOWN_HOSTS")),
    "production": (("DEPLOY_SSH_KEY", "DEPLOY_EVIDENCE_KEY"), ("VAST_HOST", "VAST_PORT", "KNOWN_HOSTS")),
}
_ASKS = ("promotion", "production")  # a person, first


@click.group("keys")
def command() -> None:
    """Make the keys that evidence needs, and say what CI has to be given."""


@verb("init", example="deploy image keys init && git add evidence.pub", hosts=False)
def init(session: Session) -> None:
    """Make the keys where there are none, and say what to paste where.

    The public half, evidence.pub, belongs into the repository; the secret half is shown to nobody: the commands read
    its file. Run it again to see the same: a key is never overwritten.
    """
    private, public = default_private(), session.directory / "evidence.pub"
    made = not public.exists() and not private.exists() and not os.environ.get("DEPLOY_EVIDENCE_KEY")
    if made:
        key = generate(private, public)
    elif public.exists():
        key = read_public(public)[0]
    else:
        key = own_key(None).public
        key.write(public)
    session.console.answer(
        {
            "event": "result",
            "key": key.id,
            "made": made,
            "private": str(private),
            "public": str(public),
            "environments": {
                name: {"secrets": list(secrets), "variables": list(variables), "reviewers": name in _ASKS}
                for name, (secrets, variables) in ENVIRONMENTS.items()
            },
        },
        [
            f"key {key.id}{'' if made else ', which was there'}",
            f"  secret half: {private} (never commit it)",
            f"  public half: {public}",
            "commit the public half:",
            f"  git add {public.name} && git commit -m 'Say whose evidence counts' && git push",
            "environments of the repository on GitHub, and what each holds; paste this:",
            *_commands(private),
            f"let {' and '.join(_ASKS)} require a reviewer: Settings, Environments, Required reviewers",
        ],
    )


def _commands(private: Path) -> list[str]:
    """As GitHub's own program takes them; it asks for what stands in no file."""
    lines = []
    for name, (secrets, variables) in ENVIRONMENTS.items():
        lines.append(f"  gh api --silent -X PUT 'repos/{{owner}}/{{repo}}/environments/{name}'")
        for secret in secrets:
            source = f" < {private}" if secret == "DEPLOY_EVIDENCE_KEY" else " < FILE"  # noqa: S105
            lines.append(f"  gh secret set {secret} --env {name}{source}")
        for variable in variables:
            value = " < known_hosts" if variable == "KNOWN_HOSTS" else " --body VALUE"
            lines.append(f"  gh variable set {variable} --env {name}{value}")
    return lines


command.add_command(init)

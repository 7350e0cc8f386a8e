"""What `deploy up` and `deploy plan` are asked of channels and shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cli.session import Session

CHANNEL = "Default: stable; canary where the target declares steps of a rollout and stable serves already."


def asked_channel(session: Session, said: str | None) -> str:
    """The channel that is meant; empty where each host says whether it is a canary."""
    return said or ("" if session.itself.target.rollout.steps else "stable")


def share_of(text: str, said: str, next_step: str) -> float:
    """A share of the clients: `25%` is 0.25.

    Args:
        said: the word of the command line that it stands in.
        next_step: how it is said rightly.

    Raises:
        UsageError: it is none.
    """
    from provision.project.units import parse_share

    try:
        share = parse_share(text)
        if 0 <= share <= 1:
            return share
    except ValueError:
        pass
    raise UsageError(f'{said}: expected a share from "0%" to "100%".', next_step=next_step)


def weight_of(weight: str | None) -> float | None:
    """What `--weight` says; None where it was left out."""
    return None if weight is None else share_of(weight, f"--weight {weight}", "--weight 5%")

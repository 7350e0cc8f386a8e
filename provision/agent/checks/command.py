"""Probe of `command`: it ends with status 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Dict, List

    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class CommandCheck(CheckDocument):
        argv: List[str]  # run in the release
        env: Dict[str, str]  # the service's own, without secrets


def attempt(check: CommandCheck, reach: Reach, seconds: float) -> Facts:
    return {"output": reach.run(check["argv"], seconds, check.get("env") or None)}

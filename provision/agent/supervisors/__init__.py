"""The supervisors that a host may have: a module for each platform that can be deployed to over SSH.

A module's `on_this_host` opens the supervisor; `base` says what each can do. Its other half, on the side of who
deploys, is the module of the same name in `provision.platforms`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Dict, Mapping, Optional

from ...contract.failure import USAGE, Failure
from ...contract.layout import Layout
from .. import guard
from .base import ABSENT, LOG_BYTES, Activity, Observed, Supervisor

__all__ = ["ABSENT", "LOG_BYTES", "Activity", "Observed", "Supervisor", "open_supervisor", "options"]


def options(layout: Layout) -> Dict[str, object]:
    """How this project reaches its supervisor, as the last deploy wrote it down (targets' own settings)."""
    return guard.note(layout, os.path.join(layout.private, "supervisor.json"))


def open_supervisor(layout: Layout, platform: str, options: Optional[Mapping[str, object]] = None) -> Supervisor:
    """The supervisor of `platform` on this host.

    Raises:
        Failure: no module here has that name, or the supervisor's own configuration can't be used.
    """
    known = platform.isidentifier() and importlib.util.find_spec(f"{__name__}.{platform}")
    module: Any = importlib.import_module(f"{__name__}.{platform}") if known else None
    if not hasattr(module, "on_this_host"):
        raise Failure(USAGE, f"platform {platform!r} can't be deployed to over SSH")
    opened: Supervisor = module.on_this_host(layout, options or {})
    taking: Any = (options or {}).get("take_over")
    opened.taking = taking or ()
    return opened

"""What a Linux machine alone can do here, refused by name on another one before it begins.

A laptop with macOS declares, plans, deploys, looks, promotes and renders. What runs hosts or makes programs for them
does not work there.
"""

from __future__ import annotations

import platform
import sys

from provision.errors import UsageError

_CALLED = {"Darwin": "macOS"}


def demand(what: str, *, instead: str) -> None:
    """Go on only on Linux.

    Args:
        what: that needs it, as the beginning of a sentence.
        instead: what to do on other machines.

    Raises:
        UsageError: this is another system.
    """
    if sys.platform != "linux":
        system = _CALLED.get(platform.system(), platform.system())
        raise UsageError(f"{what} needs Linux, and this machine runs {system}.", next_step=instead)

"""`deploy`, in a process of its own, for whom time goes as fast as for the provider that it asks.

    HURRIED="SPEED AT BEGAN" python -m tests.providers.hurried machine rent

Waits between calls are short then, and what a machine has cost is counted from the provider's clock. Connections to
hosts keep this machine's own.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Iterator
from typing import Any

from provision.providers.acceptance import faults
from provision.providers.api import Clock
from provision.targets import acceptance

_OF_MONEY = "provision.providers."


def faults_but_of_clocks(*shown: Any) -> Iterator[str]:
    """What is wrong with a host: its clock goes as this machine's does, and so can't be the provider's."""
    terms, first, measured, closed, _ = shown
    return faults(terms, first, measured, closed, first["clock"])


def hurry(speed: float, at: float, began: float) -> None:
    """Count seconds as a provider does that began to count at `began` of the monotonic clock, at `at` since 1970."""
    own = time.time

    def now() -> float:
        asks = sys._getframe(1).f_globals["__name__"]
        return at + (time.monotonic() - began) * speed if asks.startswith(_OF_MONEY) else own()

    time.time = now
    acceptance.faults = faults_but_of_clocks
    Clock.__init__.__defaults__ = (lambda: time.monotonic() * speed, lambda seconds: time.sleep(seconds / speed))


if __name__ == "__main__":
    hurry(*map(float, os.environ["HURRIED"].split()))
    program = os.environ.get("HURRIED_PROGRAM")
    if program:
        sys.argv[0] = program
        runpy.run_path(program, run_name="__main__")
    from provision.cli.main import main

    sys.exit(main())

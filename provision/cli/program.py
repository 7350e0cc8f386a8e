"""The program `deploy`: the command line, and how its process begins and ends."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line of this process, and end the process with its exit code."""
    # What a run makes it mostly keeps, so looking for garbage after each 700 objects finds none and slows each import.
    gc.set_threshold(50_000)
    # Threads here compute little and wait for hosts; the one that computes lets them go on at once.
    sys.setswitchinterval(0.0005)
    try:
        from provision.cli.main import main

        code = main()
    except KeyboardInterrupt:  # while all of it is being imported
        code = 130
    with contextlib.suppress(OSError):  # whoever read the output has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # taking half a thousand modules apart would take as long as a round trip

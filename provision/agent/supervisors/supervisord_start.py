"""Starting a supervisord that does not run: by the command, or by the unit that systemd has for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Callable

from ...contract.failure import FAILED, REFUSED, Failure
from .. import commands, files
from .supervisord_config import Instance, create_own, program

_SECONDS = 10.0  # it answers on its socket within this, or it did not start
_POLL = 0.02


def start(instance: Instance, answers: Callable[[], bool]) -> None:
    """Start it, and return once it answers.

    Raises:
        Failure: it is not installed, or did not start.
    """
    command = [installed(), "-c", instance.config]
    if instance.own:
        create_own(instance)
    elif not os.path.isdir(instance.include):
        files.make_folder(instance.include)
    unit = "" if instance.own else _unit()
    if unit:
        command = ["systemctl", "start", unit]  # which else would start a second one, again and again
    # Without a mark: who deploys may itself be run by a supervisord.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    try:
        said = commands.ask(command, _SECONDS, cwd="/", env=environment).output.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        said = f"it did not end in {_SECONDS:.0f} s"
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if answers():
            return
        time.sleep(_POLL)
    raise Failure(FAILED, f"{' '.join(command)} did not start supervisord: {said.strip()[-500:]}")


def installed() -> str:
    """The program, or a refusal."""
    command = program()
    if command is None:
        raise Failure(
            REFUSED,
            "supervisord is not installed on this host.",
            next_step="deploy host bootstrap, or install it there: apt-get install supervisor",
        )
    return command


def _unit() -> str:
    """The unit by which systemd starts the host's supervisord, where it does."""
    if os.geteuid() == 0 and os.path.isdir("/run/systemd/system"):
        for unit in ("supervisor.service", "supervisord.service"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if commands.ask(["systemctl", "is-enabled", "--quiet", unit], _SECONDS).status == 0:
                    return unit
    return ""

"""`hosts = ["sandbox"]`: a throwaway SSH host on this machine, one for each project, in its `.deploy/sandbox`.

It is started when it is needed, lives on between commands, and ends with `deploy down`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provision.errors import UsageError
from provision.hosts import HostSpec
from provision.hosts.sandbox import Sandbox

_FOLDER = Path(".deploy") / "sandbox"


def spec(project: Path) -> HostSpec:
    """How to reach the sandbox of the project in this folder; started where it does not run.

    What the project's known_hosts says about it comes first, as for any host; then what the sandbox itself says.
    """
    try:
        found = Sandbox.attach(project / _FOLDER).spec
    except UsageError:
        found = Sandbox(project / _FOLDER, keep=True).start().spec
    return replace(found, known_hosts=(project / "known_hosts", *found.known_hosts))


def stop(project: Path) -> None:
    """End everything on the project's sandbox; nothing to do where it does not run."""
    try:
        running = Sandbox.attach(project / _FOLDER)
    except UsageError:
        return
    running.stop()

"""`hosts = ["sandbox"]`: a throwaway SSH host on this machine, one for each project, in its `.deploy/sandbox`.

It is started when it is needed, lives on between commands, and ends with `deploy down`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provision.errors import UsageError
from provision.events import OnEvent, ignore, message
from provision.hosts import HostSpec
from provision.hosts.sandbox import Sandbox
from provision.project.sandbox import FOLDER, LOCAL


def spec(project: Path, on_event: OnEvent = ignore) -> HostSpec:
    """How to reach the sandbox of the project in this folder; started where it does not run, which is said.

    What the project's known_hosts says about it comes first, as for any host; then what the sandbox itself says.
    """
    try:
        found = Sandbox.attach(project / FOLDER).spec
    except UsageError:
        found = Sandbox(project / FOLDER, keep=True).start().spec
        # Nobody has to tell git of a folder that is about this machine alone.
        (project / LOCAL / ".gitignore").write_text("*\n")
        text = f"started a throwaway host in {project / FOLDER}; it lives on until `deploy down` ends it"
        on_event(message("sandbox", text))
    return replace(found, known_hosts=(project / "known_hosts", *found.known_hosts))


def stop(project: Path) -> bool:
    """End everything on the project's sandbox; False where it does not run."""
    try:
        running = Sandbox.attach(project / FOLDER)
    except UsageError:
        return False
    running.stop()
    return True

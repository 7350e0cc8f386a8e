"""Starting workers, with no more rights than that.

The API may start two programs by name, and nothing else: not stop, not restart, no name of a caller's choosing. Run by
supervisord as its own user, it reaches supervisord's socket, whose address supervisord hands to each program. Where the
API runs as a user of its own (`user = "www-data"`), give that user exactly these two commands in sudoers, and set
SUPERVISORCTL="sudo -n supervisorctl" in its env:

    www-data ALL=(root) NOPASSWD: /usr/bin/supervisorctl start worker-cpu, /usr/bin/supervisorctl start worker-gpu
"""

import os
import shlex
import subprocess
from enum import StrEnum

_SECONDS = 30


class Mode(StrEnum):
    CPU = "cpu"
    GPU = "gpu"


class NotStarted(Exception):
    """supervisorctl refused; the message is its own."""


def start(mode: Mode) -> str:
    """Start the worker of `mode`, or find it running.

    Raises:
        NotStarted: the supervisor refused.
    """
    command = shlex.split(os.environ.get("SUPERVISORCTL", "supervisorctl"))
    # With sudo the command line has to be the one in sudoers, and root's supervisorctl knows where its server is.
    server = os.environ.get("SUPERVISOR_SERVER_URL", "") if command[0] != "sudo" else ""
    done = subprocess.run(
        [*command, *(["-s", server] if server else []), "start", f"worker-{mode}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0 and "already started" not in said:
        raise NotStarted(said or f"supervisorctl exited with {done.returncode}")
    return said

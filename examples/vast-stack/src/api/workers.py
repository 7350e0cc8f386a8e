"""Starting workers, with no more rights than that.

deploy-ctl starts what deploy.toml declares on demand, by its exact name, and nothing else. Where the API runs as an
account of its own, `starts` in deploy.toml says which of them it may start.
"""

import os
import subprocess
from enum import StrEnum

_SECONDS = 30


class Mode(StrEnum):
    CPU = "cpu"
    GPU = "gpu"


class NotStarted(Exception):
    """The worker did not start; the message says why."""


def start(mode: Mode) -> str:
    """Start the worker of `mode`, or find it running.

    Raises:
        NotStarted: it did not start, or may not be started.
    """
    # In the image of this stack, which nobody deploys to, supervisorctl takes the same words.
    command = os.environ.get("DEPLOY_CTL", "supervisorctl")
    try:
        done = subprocess.run(
            [command, "start", f"worker-{mode}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotStarted(str(error)) from error
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0 and "already started" not in said:
        raise NotStarted(said or f"{command} exited with {done.returncode}")
    return said

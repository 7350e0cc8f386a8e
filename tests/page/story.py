"""The page while a canary that answers errors is judged by steps and taken back. No account and no cluster is needed.

    python -m tests.page.story              make demo-ui
    python -m tests.page.story --once       ends when the canary was taken back

A throwaway host of this machine, real users, and the commands that a person types; Ctrl-C ends all of it.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
import webbrowser

from provision.cli.tunnelling import has_browser
from tests.cli.conftest import Project
from tests.page.conftest import start, stop
from tests.page.staged import break_it, rollout_of, staged, users

_BEFORE_SECONDS = 15.0  # that somebody has to open the page
_JUDGED_SECONDS = 240.0
_LOOK_SECONDS = 2.0


def tell(*, once: bool) -> int:
    """All of it; whether the canary was taken back, as an exit code."""
    _say("A throwaway host of this machine, a small web service on it, and traffic before it.")
    with staged(said="asked for") as project, users(project.port):
        ui = start(project)
        try:
            _say(f"Four users ask all the time. The page is at {ui.url}")
            if not once:
                if has_browser():
                    webbrowser.open(ui.url)
                _say(f"Open it; in {_BEFORE_SECONDS:.0f} s a release comes that has an error which no check sees.")
                time.sleep(_BEFORE_SECONDS)
            break_it(project)
            _say("deploy up: half of the users come to it as a canary. Look at Deploys, then at Traffic.")
            project.ok("up", "--target", "sandbox")
            found = _judged(project)
            _say(f"The canary was {found['status']}: {found['says']}")
            if not once:
                _say("The page stays until Ctrl-C: each record, the verdict and its figures are there.")
                signal.pause()
            return 0 if found["status"] == "aborted" else 1
        finally:
            stop(ui)


def _judged(project: Project) -> dict[str, str]:
    """How the rollout ended."""
    end, told = time.monotonic() + _JUDGED_SECONDS, ""
    while True:
        found = rollout_of(project)
        if found["says"] != told:
            _say(f"  {found['says']}")
            told = found["says"]
        if found["status"] not in ("", "running") or time.monotonic() > end:
            return found
        time.sleep(_LOOK_SECONDS)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if not shutil.which("rsync"):
        sys.exit("rsync is missing: scripts/install-packages demo")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(tell(once="--once" in sys.argv))

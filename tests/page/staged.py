"""A canary that answers errors to its users, and is judged and taken back by what they saw: the real thing, for tests,
`make demo-ui` and `make pictures`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cli.conftest import Project, make_project, of

TRAFFIC = """
[targets.sandbox.traffic]
[targets.sandbox.rollout]
steps = ["50%"]
each = "20s"
at_most = "5m"
[targets.sandbox.rollout.abort]
errors = "5%"
ttft_p95 = "2s"
"""


@contextmanager
def staged(extra: str = TRAFFIC, said: str = "asked for") -> Iterator[Project]:
    """A project that is up, behind traffic, and has a key to sign what its checks saw.

    Args:
        said: what its service writes when it is asked.
    """
    made = make_project()
    project = next(made)
    try:
        project.environ["XDG_CONFIG_HOME"] = str(project.root.parent / "config")  # where its own key comes to
        project.write(extra=extra)
        project.ok("image", "keys", "init")
        web = project.root / "web.py"
        web.write_text(web.read_text().replace('"asked for"', repr(said)))
        project.ok("up", "--target", "sandbox")
        yield project
    finally:  # Ctrl-C, too, ends the host
        next(made, None)


def break_it(project: Project, extra: str = TRAFFIC) -> None:
    """Edit it as a developer would who has an error that no check sees: users get it, the check does not."""
    project.write(version="two", extra=extra)
    web = project.root / "web.py"
    broken = "self.send_response(503 if self.path == '/' and self.headers['User-Agent'] == 'user' else STATUS)"
    web.write_text(web.read_text().replace("self.send_response(STATUS)", broken))
    text = (project.root / "deploy.toml").read_text().replace('http = "/"', 'http = "/health"')
    (project.root / "deploy.toml").write_text(text)


def rollout_of(project: Project) -> dict[str, Any]:
    """What `deploy traffic` says of the canary: its state, and why."""
    (seen,) = of(project.events("traffic", "--target", "sandbox"), "traffic")
    found = seen["rollout"]
    return {"status": found["record"]["status"], "says": found["says"]} if found else {"status": "", "says": ""}


@contextmanager
def users(port: int) -> Iterator[None]:
    """Who ask all the time, from many addresses: a client stays with its lane."""
    over = threading.Event()

    def ask(first: int) -> None:
        for number in itertools.count():
            if over.wait(0.02):
                return
            address = f"127.0.{first}.{2 + number % 200}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5, source_address=(address, 0))
                with contextlib.closing(asked):
                    asked.request("GET", "/", headers={"User-Agent": "user"})
                    asked.getresponse().read()

    threads = [threading.Thread(target=ask, args=(first,), daemon=True) for first in range(1, 5)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()

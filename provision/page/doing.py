"""What the page may do where `deploy ui --allow` says so: a command of ours, shown word by word and asked for once.

The command itself is run, in a process of its own, as if somebody had typed it: so hooks, machines that are rented,
evidence, the record of it and its end are what they are there. Who asks for one gets a token for exactly that command,
which runs it once, and only a page of ours may hand it in (`guard.py`): who presses twice comes to the one record. What
runs goes on when the page ends.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from provision import recorded
from provision.page.places import Project
from provision.page.rendering import environment
from provision.project.units import parse_share, percent

VERBS = {
    "up": "Ships the project as it is in this folder now, proves it, and lets users reach it; or puts everything back.",
    "promote": "Brings the canary's release to stable, proven again.",
    "rollback": "Goes back to the release before this one.",
    "traffic": "Moves clients to the canary at once, until another release is the canary.",
}
_TOKEN_SECONDS = 10 * 60.0
_TOKENS = 64  # that were asked for and not used
_KEPT = 8  # commands that are told of
_BODY = 4096  # bytes
_LONGEST_LINE = 1 << 20
_RECORD_SECONDS = 10.0  # within which a command has begun its record, or has ended


class Order(NamedTuple):
    """A command that somebody may run."""

    verb: str
    target: str
    share: str = ""  # of the canary, for `traffic`

    @property
    def words(self) -> list[str]:
        return [self.verb, "--target", self.target, *([f"canary={self.share}"] if self.share else [])]

    @property
    def text(self) -> str:
        """As somebody would type it."""
        return shlex.join(["deploy", *self.words])


@dataclass
class Running:
    """A command that was begun here."""

    order: Order
    at: float
    process: subprocess.Popen[bytes]
    id: str = ""  # of its record; empty where there is none
    code: int | None = None  # None: it runs
    error: dict[str, Any] = field(default_factory=dict)


class Doing:
    """Runs what is allowed.

    Args:
        allowed: of `VERBS`.
    """

    def __init__(self, project: Project, allowed: Sequence[str]) -> None:
        self.project = project
        self.allowed = [verb for verb in VERBS if verb in allowed]
        self.version = 0
        self.begun: list[Running] = []
        self._tokens: dict[str, tuple[float, Order]] = {}
        self._used: dict[str, Running] = {}  # token -> what it began
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """None where nothing is allowed."""
        if not self.allowed:
            return []
        return [
            Route("/do/{verb}/{target}", self._asked, methods=["GET"]),
            Route("/do/{verb}/{target}", self._begun, methods=["POST"]),
        ]

    async def _asked(self, request: Request) -> Response:
        """Shows the command, and asks."""
        order = self._order(request)
        now = time.monotonic()
        token = secrets.token_urlsafe(32)
        self._tokens = {each: (end, of) for each, (end, of) in self._tokens.items() if end > now}
        while len(self._tokens) >= _TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[token] = now + _TOKEN_SECONDS, order
        page = environment().get_template("do.html")
        facts: dict[str, Any] = {"title": order.text, "project": self.project.name, "here": "Deploys"}
        facts |= {"order": order, "says": VERBS[order.verb], "token": token, "root": str(self.project.root)}
        # Without a referrer a browser would say of no form where it comes from (Fetch, "Origin header").
        headers = {"Referrer-Policy": "same-origin"}
        return HTMLResponse(page.render(facts), headers=headers)

    async def _begun(self, request: Request) -> Response:
        """Runs it, and leads to its record."""
        verb, target = request.path_params["verb"], request.path_params["target"]
        self._demand(verb, target)
        (token,) = (await _form(request)).get("token", [""])[:1]
        running = self._used.get(token)
        if running is None:
            end, order = self._tokens.pop(token, (0.0, None))
            if order is None or end < time.monotonic() or (order.verb, order.target) != (verb, target):
                raise HTTPException(403, "this was asked too long ago.\nnext: ask anew, at /deploys\n")
            if any(each.code is None and each.order.target == target for each in self.begun):
                raise HTTPException(409, f"a command of this page works on {target} already.\nnext: /deploys\n")
            running = self._begin(order)
            self._used = {each: of for each, of in self._used.items() if of in self.begun} | {token: running}
        until = time.monotonic() + _RECORD_SECONDS
        while not running.id and running.code is None and time.monotonic() < until:
            await asyncio.sleep(0.05)
            running.id = recorded.of_process(self.project.root, running.process.pid, running.at)
        self.version += 1
        return RedirectResponse(f"/deploys/{running.id}" if running.id else "/deploys", 303)

    def _order(self, request: Request) -> Order:
        verb, target = request.path_params["verb"], request.path_params["target"]
        self._demand(verb, target)
        if verb != "traffic":
            return Order(verb, target)
        try:
            share = parse_share(f"{request.query_params.get('share', '')[:20]}%")
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise HTTPException(400, "a share from 0 to 100, please.\nnext: /deploys\n")
        return Order(verb, target, percent(share).replace(" ", ""))

    def _demand(self, verb: str, target: str) -> None:
        if verb not in self.allowed:
            raise HTTPException(403, "that is not allowed here.\nnext: deploy ui --allow, with that verb\n")
        if target not in self.project.targets:
            raise HTTPException(404, "there is no such target.\nnext: /deploys\n")

    def _begin(self, order: Order) -> Running:
        # -P: what lies in the folder of the project is no module of ours. A session of its own: Ctrl-C ends the page.
        # A file without a name: with a pipe the command would end where it writes after the page has ended.
        output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (closed by who follows it)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "provision.cli", *order.words, "--json"],
                cwd=self.project.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            output.close()
            raise
        running = Running(order, time.time(), process)
        with self._lock:
            self.begun = [running, *self.begun][:_KEPT]
            self.version += 1
        threading.Thread(target=self._follow, args=(running, output), daemon=True, name="page runs").start()
        return running

    def _follow(self, running: Running, output: IO[str]) -> None:
        """Wait for its end, and read what it said for the error that it may have ended with; all else is recorded."""
        code = running.process.wait()
        with output:
            output.seek(0)
            while line := output.readline(_LONGEST_LINE):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and event.get("event") == "error":
                    running.error = event
        running.code = code
        self.version += 1


async def _form(request: Request) -> dict[str, list[str]]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise HTTPException(413, "that is too long.\n")
    return parse_qs(body.decode("ascii", "replace"))

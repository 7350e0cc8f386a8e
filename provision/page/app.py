"""The page's addresses. It only reads, but for what `doing.py` is allowed: nothing else takes anything but GET."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from provision.errors import DeployError
from provision.page import assets, views
from provision.page.doing import Doing
from provision.page.guard import Door, Guard
from provision.page.live import Live, View
from provision.page.places import MINUTES, Places, Project
from provision.page.poller import Poller
from provision.page.rendering import PAGES, environment
from provision.page.tails import Tails

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.targets import Deployment

_CHANNELS = ("stable", "canary", "candidate")
_ABOUT = {
    "Traffic": f"The last {MINUTES} minutes, as the keepers on the hosts counted them; of a cluster, its Prometheus."
}
_SEARCHED = ("Project", "Traffic", "Deploys")
_STREAMS = 128  # at a time, of all viewers
_MOST_LIVE = 64  # pages of different hosts and deploys


class Page:
    """All of it, for one project.

    Args:
        allow: as `Doing` takes it.
    """

    def __init__(self, project: Project, allow: Sequence[str] = ()) -> None:
        self.project = project
        self.poller = Poller()
        self.places = Places(project, self.poller)
        self.doing = Doing(project, allow)
        self._tails = Tails(self._opened)
        self._lives: dict[str, tuple[Live, asyncio.Task[None]]] = {}
        self._streams = 0
        self._over = asyncio.Event()

    def app(self, door: Door, port: int | None) -> Starlette:
        """For a server.

        Args:
            port: as `Guard` takes it.
        """
        routes = [
            *(Route(path, self._shown, name=name) for path, name in PAGES if name != "Logs"),
            Route("/host/{target}/{host}", self._shown, name="Host"),
            Route("/deploys/{id}", self._shown, name="Deploy"),
            Route("/live/{address:path}", self._live),
            Route("/logs", self._logs),
            Route("/lines", self._lines),
            Route("/static/{name}", _static),
            *self.doing.routes(),
        ]
        middleware = [Middleware(Guard, door=door, port=port), Middleware(GZipMiddleware, minimum_size=1000)]
        return Starlette(routes=routes, middleware=middleware, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self.poller.start()
        try:
            yield
        finally:
            self.poller.stop()
            for _, task in self._lives.values():
                task.cancel()
            await asyncio.to_thread(self.places.close)

    def end(self) -> None:
        """The page ends: nothing waits for streams, which would go on for ever."""
        self._over.set()
        self._tails.end()
        for live, _ in self._lives.values():
            live.end()

    def _view(self, address: str) -> View | None:
        """What the page at `address` shows."""
        plain = {"/": views.Project, "/traffic": views.Traffic}
        plain |= {"/evidence": views.Evidence, "/models": views.Models}
        if address == "/deploys":
            return views.Deploys(self.places, self.doing)
        if kind := plain.get(address):
            return kind(self.places)
        match address.split("/"):
            case ["", "host", target, host] if target in self.project.targets:
                return views.Host(self.places, target, host)
            case ["", "deploys", id_]:
                return views.Deploy(self.places, id_)
        return None

    async def _of(self, address: str) -> Live | None:
        """The page that everybody who looks at `address` shares."""
        self._lives = {each: (live, task) for each, (live, task) in self._lives.items() if not task.done()}
        if address not in self._lives:
            view = self._view(address)
            if view is None or len(self._lives) >= _MOST_LIVE:
                return None
            live = Live(view)
            await live.refresh()
            self._lives.setdefault(address, (live, asyncio.create_task(live.keep())))
        return self._lives[address][0]

    async def _shown(self, request: Request) -> Response:
        address = request.url.path
        live = await self._of(address)
        if live is None:
            return PlainTextResponse("there is no such page, or too many are looked at.\nnext: /\n", 404)
        await live.refresh()
        name = next((name for path, name in PAGES if path == address), "")
        regions: dict[str, list[Any]] = {}
        for part in live.parts:
            regions.setdefault(part.region, []).append(part)
        html = (
            environment()
            .get_template("page.html")
            .render(
                title=name or ("Deploy" if address.startswith("/deploys/") else request.path_params["host"]),
                project=self.project.name,
                here=name or ("Deploys" if address.startswith("/deploys/") else "Project"),
                search=name in _SEARCHED,
                about=_ABOUT.get(name, ""),
                charts=name == "Traffic",
                live=f"/live{address}",
                version=f"{live.boot}-{live.version}",
                regions=regions or {"all": []},
            )
        )
        return HTMLResponse(html, 404 if any(part.id == views.GONE for part in live.parts) else 200)

    async def _live(self, request: Request) -> Response:
        live = await self._of("/" + request.path_params["address"])
        if live is None:
            return PlainTextResponse("there is no such page.\n", 404)
        since = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return self._stream(live.messages(since), lambda message: message.get("version", ""))

    async def _logs(self, request: Request) -> Response:
        targets = [*self.project.targets]
        # Of several, one that could be opened.
        first = next((name for name in targets if name in self.places.open), targets[0] if targets else "")
        target = request.query_params.get("target") or first
        channel = request.query_params.get("channel", _CHANNELS[0])
        if (targets and target not in self.project.targets) or channel not in _CHANNELS:
            return PlainTextResponse("there is no such target or channel.\nnext: /logs\n", 404)
        html = (
            environment()
            .get_template("logs.html")
            .render(
                title="Logs",
                project=self.project.name,
                here="Logs",
                targets=targets,
                target=target,
                channels=_CHANNELS,
                channel=channel,
            )
        )
        return HTMLResponse(html)

    async def _lines(self, request: Request) -> Response:
        target, channel = request.query_params.get("target", ""), request.query_params.get("channel", "")
        if target not in self.project.targets or channel not in _CHANNELS:
            return PlainTextResponse("there is no such target or channel.\n", 404)
        try:
            tail = await asyncio.to_thread(self._tails.of, target, channel)
        except DeployError as error:
            return self._stream(self._once([(0, "", "", str(error))]))
        return self._stream(tail.lines())

    async def _once(self, message: Any) -> AsyncIterator[Any]:
        yield message
        await self._over.wait()

    def _opened(self, target: str) -> Deployment | ProjectThere:
        there = self.places.open.get(target) or self.project.targets[target]()
        return self.places.open.setdefault(target, there)

    def _stream(self, messages: AsyncIterator[Any], id_: Callable[[Any], str] = lambda _: "") -> Response:
        """Server-sent events (HTML, "Server-sent events"); what is empty keeps the line alive."""
        if self._streams >= _STREAMS:
            return PlainTextResponse("too many look on already.\n", 503)

        async def lines() -> AsyncIterator[str]:
            self._streams += 1
            try:
                yield "retry: 2000\n\n"
                async for message in messages:
                    name = id_(message) if message else ""
                    head = f"id: {name}\n" if name else ""
                    yield f"{head}data: {json.dumps(message)}\n\n" if message else ": here\n\n"
            finally:
                self._streams -= 1

        return StreamingResponse(lines(), media_type="text/event-stream")


async def _static(request: Request) -> Response:
    found = await asyncio.to_thread(assets.read, request.path_params["name"])
    if found is None:
        return PlainTextResponse("there is no such file.\n", 404)
    content, kind = found
    return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=300"})

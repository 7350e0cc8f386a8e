"""An API server with faults: a proxy before the real one, which by plan does something else than to pass a request on.

A connection carries one request (`Connection: close`), so that a plan sees each of them; what is upgraded (a forwarded
port, a command in a pod) is passed on as it comes.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.cluster.running import Cluster

_LIMIT = 1 << 20


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str
    path: str  # with the query

    @property
    def writes(self) -> bool:
        return self.method != "GET" and "dryRun" not in self.path

    @property
    def watches(self) -> bool:
        return "watch=true" in self.path

    @property
    def kind(self) -> tuple[str, str, bool]:
        """Requests that differ by the object alone have one: what is asked, of what, and whether it writes."""
        found = re.search(r"/namespaces/[^/]+/(\w+)", self.path)
        return self.method, found[1] if found else self.path, self.writes


@dataclass(frozen=True)
class Answer:
    """Instead of the server's; `body` is a Status where it is empty. `short`: it ends before its length says so."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    short: bool = False

    def encoded(self) -> bytes:
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": f"said by a test: {self.reason}"}
        body = (self.body or json.dumps({**told, "reason": self.reason, "code": self.status})).encode()
        length = len(body) + (100 if self.short else 0)
        headers = {"Content-Type": "application/json", "Content-Length": length, "Connection": "close", **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} {self.reason or 'OK'}\r\n{lines}\r\n".encode() + body


@dataclass(frozen=True)
class Lost:
    """The server does what it is asked; then `then` is called, and the client never hears of it."""

    then: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Before:
    """`do` is called, and then it is passed on."""

    do: Callable[[], object]


Fault = Answer | Lost | Before
Plan = Callable[[Request], Fault | None]


def writes(request: Request) -> bool:
    return request.writes


def passed(_request: Request) -> None:
    """A plan: nothing happens."""


class At:
    """A plan: at the first request that is meant, after so many others of them, `fault`."""

    def __init__(self, means: Callable[[Request], bool], fault: Fault, after: int = 0) -> None:
        self._means = means
        self._left = after
        self._fault = fault

    @property
    def came(self) -> bool:
        return self._left < 0

    def __call__(self, request: Request) -> Fault | None:
        if self.came or not self._means(request):
            return None
        self._left -= 1
        return self._fault if self.came else None


class FaultyApi:
    """The proxy, while this lasts. `plan` may be changed at any time; `requests` is all that came."""

    def __init__(self, cluster: Cluster) -> None:
        pki = cluster.disk / "pki"
        self._authority = pki / "ca.crt"
        self._upstream = ssl.create_default_context(cafile=str(cluster.authority))
        self._here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._here.load_cert_chain(pki / "server.crt", pki / "server.key")
        self._api = cluster.api
        self._loop = asyncio.new_event_loop()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.plan: Plan = passed
        self.requests: list[Request] = []
        self.port = 0

    def __enter__(self) -> FaultyApi:
        self._thread.start()
        assert self._began.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def reach(self, kubeconfig: Path) -> None:
        """Have a kubeconfig lead here."""
        config = json.loads(kubeconfig.read_text())
        here = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self._authority)}
        config["clusters"][0]["cluster"] = here
        kubeconfig.write_text(json.dumps(config))

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._here, limit=_LIMIT)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._began.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of both went away
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(*first.split(" ")[:2])
        self.requests.append(request)
        fault = self.plan(request)
        if isinstance(fault, Answer):
            writer.write(fault.encoded())
            await writer.drain()
            return
        if isinstance(fault, Before):
            fault.do()
        if "upgrade" not in headers:
            lines = [*(line for line in lines if not line.lower().startswith("connection:")), "Connection: close"]
        there, back = await asyncio.open_connection(*self._api, ssl=self._upstream, limit=_LIMIT)
        try:
            back.write("\r\n".join([first, *lines, "", ""]).encode("latin-1") + body)
            if isinstance(fault, Lost):
                await there.read()
                fault.then()
                writer.transport.abort()
                return
            both = [asyncio.create_task(_copy(there, writer)), asyncio.create_task(_copy(reader, back))]
            _, pending = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
        finally:
            back.close()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            to.write(data)
            await to.drain()
    except OSError:
        return  # that side went away, and so this ends

"""A stand-in for Vast.ai: its documented API, its limits, its money and its faults, in a process of its own.

    python -m tests.providers.vast_server CONFIG        says on stdout where it listens

CONFIG is JSON: `key`, `speed` (seconds here in one of the tests'), `offers`, `boots` (how machines behave, in the order
in which they are rented; the last one for all further ones). What goes wrong is said while it runs, by PUT /control:
endpoint -> what happens to its next calls, one after the other; or `change`: number -> how that machine behaves from
now on, and `credit`. GET /control is what only the provider knows: every machine that ever was, and what it has cost.
No account of the provider can be had here, so it can't be asked itself; requests and answers are held against the
shapes that it publishes (`shapes.yaml`).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 25
# Seconds between two calls, as the provider's documents and its own client give them.
LIMITS = {"rent": 4.5, "bid": 5.5, "destroy": 3.0, "show": 2.0, "list": 1.0, "search": 6.0}
_ROUTES = (
    ("search", "POST", r"/api/v0/bundles/?"),
    ("rent", "PUT", r"/api/v0/asks/(\d+)/?"),
    ("list", "GET", r"/api/v1/instances/?"),
    ("user", "GET", r"/api/v0/users/current/?"),
    ("show", "GET", r"/api/v0/instances/(\d+)/?"),
    ("label", "PUT", r"/api/v0/instances/(\d+)/?"),
    ("destroy", "DELETE", r"/api/v0/instances/(\d+)/?"),
    ("keys", "GET", r"/api/v0/instances/(\d+)/ssh/?"),
    ("admit", "POST", r"/api/v0/instances/(\d+)/ssh/?"),
    ("log", "PUT", r"/api/v0/instances/request_logs/(\d+)/?"),
    ("bid", "PUT", r"/api/v0/instances/bid_price/(\d+)/?"),
    ("charges", "GET", r"/api/v0/charges/?"),
)


@dataclass
class Rented:
    """One machine, from the contract to its end."""

    id: int
    offer: dict[str, Any]
    order: dict[str, Any]
    boot: dict[str, Any]
    began: float
    ended: float | None = None
    label: str = ""
    stopped: bool = False
    kept_down: bool = False  # whoever has rented it wants it stopped
    resting: float = 0.0  # hours that it was stopped
    rests: float | None = None  # since when it is
    keys: list[str] = field(default_factory=list)
    printed: str = ""
    is_up: bool = False  # it boots, or has
    has_booted: bool = False

    @property
    def is_bid(self) -> bool:
        return "price" in self.order

    @property
    def price(self) -> float:
        return float(self.order.get("price") or self.offer["dph_total"])

    def cost(self, now: float) -> float:
        last = now if self.ended is None else self.ended
        resting = self.resting + (0.0 if self.rests is None else (last - self.rests) / 3600)
        hours = (last - self.began) / 3600
        return (hours - resting) * self.price + resting * float(self.offer.get("storage_total_cost", 0.01))

    def rest(self, now: float) -> None:
        self.stopped, self.rests = True, now if self.rests is None else self.rests

    def go_on(self, now: float) -> None:
        if self.rests is not None:
            self.resting, self.rests = self.resting + (now - self.rests) / 3600, None
        self.stopped = self.is_up = self.has_booted = False


class Market:
    """What the provider knows."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.key = config["key"]
        self.speed = float(config.get("speed", 1))
        self.offers: dict[int, dict[str, Any]] = {each["id"]: each for each in config["offers"]}
        self.boots: list[dict[str, Any]] = list(config.get("boots") or [{}])
        self.machines: dict[int, Rented] = {}
        self.faults: dict[str, list[Any]] = {}
        self.calls: list[str] = []
        self.leaked: list[str] = []  # a key that was shown where it should not be
        self.exchanges: list[list[Any]] = []  # endpoint, body, status, answer; of calls that nothing befell
        self.logs: dict[str, tuple[float, str]] = {}
        self.held: dict[str, threading.Event] = {}  # endpoint -> what a call of it is waiting for
        self.lock = threading.RLock()
        self._last: dict[str, float] = {}
        self._began = time.monotonic()
        self._at = time.time()

    def now(self) -> float:
        """Seconds since 1970, here."""
        return self._at + (time.monotonic() - self._began) * self.speed

    def too_soon(self, endpoint: str) -> bool:
        limit = LIMITS.get("show" if endpoint in ("label", "keys", "admit", "user") else endpoint, 0.0)
        # A twentieth less: calls on their way are not evenly apart.
        if self.now() - self._last.get(endpoint, 0.0) < limit * 0.95:
            return True
        self._last[endpoint] = self.now()
        return False

    def rent(self, number: int, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        offer = self.offers.get(number)
        if offer is None:
            return 410, {"success": False, "error": "no_such_ask", "msg": "gone", "ask_id": number}
        if self.credit() <= 0:
            return 400, {"success": False, "error": "insufficient_credit", "msg": "no credit", "ask_id": number}
        price = order.get("price")
        made = 7000 + len(self.machines)
        boot = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        machine = Rented(made, offer, order, boot, self.now(), label=order.get("label") or "")
        if price is not None and price < (offer.get("min_bid") or 0):
            machine.stopped = True
            self.machines[made] = machine
            return 400, {"success": False, "error": "invalid_price", "msg": "too low", "new_contract": made}
        del self.offers[number]
        self.machines[made] = machine
        return 200, {"success": True, "new_contract": made}

    def credit(self) -> float:
        return float(self.config.get("credit", 25.0)) - sum(each.cost(self.now()) for each in self.machines.values())

    def change(self, number: int, more: dict[str, Any]) -> None:
        """Let a machine behave otherwise from now on; one that is not stopped any more boots.

        One that `returns` does so because its price has fallen; but not if it is wanted stopped.
        """
        machine = self.machines[number]
        machine.boot = {**machine.boot, **more}
        if more.get("returns") and not machine.kept_down:
            machine.go_on(self.now())
        if more.get("stopped") is not None:
            (machine.rest if more["stopped"] else machine.go_on)(self.now())

    def alive(self) -> list[Rented]:
        return [each for each in self.machines.values() if each.ended is None]

    def record(self, machine: Rented) -> dict[str, Any]:
        """An instance, as the API shows it."""
        boot, age = machine.boot, self.now() - machine.began
        actual: str | None = "running"
        said: str | None = "success, running"
        outbid = boot.get("outbid_after")
        if (outbid and age > outbid) or boot.get("ended") or self.credit() <= 0:
            machine.rest(self.now())
        if machine.stopped:
            actual, said = "stopped", ""
        if not machine.stopped:
            start = float(boot.get("start", 20))
            if boot.get("fatal") and age > start / 2:
                actual, said = "created", f"Error: {boot['fatal']}"
            elif boot.get("becomes") and age > start:
                actual, said = boot["becomes"], "lost contact"
            elif boot.get("stuck") and age > 2:
                actual, said = "loading", "pulling: layer 1 of 9"
            elif age < start:
                steps = [(None, None), ("created", "creating"), ("loading", f"pulling: {int(100 * age / start)} %")]
                actual, said = steps[min(int(3 * age / start), 2)]
            elif not self._has_booted(machine):
                actual, said = "loading", f"starting: {(age - start) / 60:.0f} minutes"
        asked = "stopped" if machine.stopped else "running"
        price = machine.price
        lowest = float(machine.offer.get("min_bid") or 0)
        reached = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(boot.get("port", 22))}]}
        for name in machine.order.get("env") or {}:
            if found := re.fullmatch(r"-p (\d+):\d+", name):
                outer = "9" if int(found[1]) in boot.get("closed", ()) else found[1]
                reached[f"{found[1]}/tcp"] = [{"HostIp": "0.0.0.0", "HostPort": outer}]
        return {
            "id": machine.id,
            "machine_id": machine.offer["machine_id"],
            "label": machine.label or None,
            "actual_status": actual,
            "cur_state": asked,
            "intended_status": asked,
            "next_state": asked,
            "status_msg": said,
            "image_uuid": machine.order["image"],
            "image_runtype": "ssh",
            "num_gpus": machine.offer["num_gpus"],
            "gpu_name": machine.offer["gpu_name"],
            "dph_base": price,
            "dph_total": price,
            "min_bid": max(lowest, price + 0.01) if outbid else lowest,
            "is_bid": machine.is_bid and not boot.get("on_demand"),
            "start_date": machine.began,
            "storage_total_cost": float(machine.offer.get("storage_total_cost", 0.01)),
            "inet_down_cost": float(machine.offer.get("inet_down_cost", 0.0)),
            "inet_up_cost": float(machine.offer.get("inet_up_cost", 0.0)),
            "end_date": self._at if boot.get("ended") else machine.began + 30 * 86400,
            "public_ipaddr": boot.get("address", "192.0.2.7"),
            "ssh_host": "ssh4.example.net",
            "ssh_port": 12345,
            "ports": reached if actual == "running" else {},
        }

    def _has_booted(self, machine: Rented) -> bool:
        """Have it boot, and see if it has: a real host is as fast as this machine, however fast money runs."""
        if not machine.is_up:
            machine.is_up = True
            if machine.boot.get("inside"):
                threading.Thread(target=self._start, args=[machine], daemon=True).start()
            else:
                machine.printed, machine.has_booted = machine.printed + machine.boot.get("printed", ""), True
        return machine.has_booted

    def _start(self, machine: Rented) -> None:
        """Run what it starts with, on the host that it is."""
        inside = machine.boot["inside"]
        try:
            if not self._shares(machine):
                _begin_anew(inside, machine)
            _serve_inside(inside)
            _give_driver(inside, machine)
            own = [f"CONTAINER_API_KEY=instance-{machine.id}", f"CONTAINER_ID={machine.id}"]
            command = [*inside, "env", *own, "sh", "-c", machine.order.get("onstart") or ""]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            machine.printed += done.stdout
            for key in machine.keys:
                self._let_in(machine, key)
        finally:  # one that is cut off runs as well, as far as the provider knows
            machine.has_booted = True

    def _shares(self, machine: Rented) -> bool:
        """Whether another one that runs is the same host."""
        with self.lock:
            others = [each for each in self.alive() if each is not machine and each.is_up and not each.stopped]
        return any(each.boot.get("inside") == machine.boot["inside"] for each in others)

    def _let_in(self, machine: Rented, key: str) -> None:
        if inside := machine.boot.get("inside"):
            script = "mkdir -p ~/.ssh && chmod 700 ~/.ssh && cat >> ~/.ssh/authorized_keys"
            subprocess.run([*inside, "sh", "-c", script], input=f"{key}\n", text=True, timeout=60, check=True)

    def admit(self, machine: Rented, key: str) -> None:
        machine.keys.append(key)
        if machine.is_up:
            self._let_in(machine, key)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    market: Market
    port = 0

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        if url.path == "/control":
            self._control(json.loads(raw) if raw else None)
        elif url.path.startswith("/release/"):
            self.market.held[url.path.rpartition("/")[2]].set()
            self._answer(200, {})
        elif url.path.startswith("/logs/"):
            self._log_file(url.path)
        elif call := _call(self.command, url.path):
            self._serve_call(*call, url.query, raw)
        else:
            self._answer(404, {"success": False, "error": "no_such_route", "msg": url.path})

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _serve_call(self, endpoint: str, found: re.Match[str], query: str, raw: bytes) -> None:
        with self.market.lock:
            self.market.calls.append(endpoint)
            fault = (self.market.faults.get(endpoint) or [None]).pop(0)
            # A machine may end and stop itself.
            own = f"Bearer instance-{found[1]}" if endpoint in ("destroy", "label") else ""
            if self.headers.get("authorization") not in (f"Bearer {self.market.key}", own):
                status = 404 if endpoint == "list" else 401  # an unknown key is no such user there
                return self._answer(status, {"success": False, "error": "auth_error", "msg": "Invalid user key"})
            if self.market.too_soon(endpoint):
                return self._plain(429, _TOO_SOON)
        if isinstance(fault, dict):  # it takes effect later, and nobody says so
            threading.Timer(fault["late"] / self.market.speed, self._do, [endpoint, found, query, raw]).start()
            return self._hang_up()
        if fault in _BEFORE:
            return _BEFORE[fault](self)
        if fault == "hold":
            self._hold(endpoint)
        status, value = self._do(endpoint, found, query, raw)
        if fault == "hold after":
            self._hold(endpoint)
        if fault in ("hold", "hold after"):
            del self.market.held[endpoint]
        if fault in _AFTER:
            return _AFTER[fault](self, value)
        self.market.exchanges.append([endpoint, json.loads(raw) if raw else None, status, value])
        return self._answer(status, value)

    def _hold(self, endpoint: str) -> None:
        """Until PUT /release/ENDPOINT; `held` says so until it has taken effect."""
        self.market.held[endpoint] = released = threading.Event()
        released.wait()

    def _do(self, endpoint: str, found: re.Match[str], query: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        market = self.market
        body = json.loads(raw) if raw else {}
        with market.lock:
            if endpoint in ("search", "user", "list", "charges"):
                return 200, self._of_account(endpoint, query, body)
            number = int(found[1])
            if endpoint == "rent":
                return market.rent(number, body)
            machine = market.machines.get(number)
            if machine is not None and machine.ended is None:
                return 200, self._of_machine(endpoint, machine, body)
            if endpoint == "show":
                return 200, {"instances": None}
            return 404, {"success": False, "error": "no_such_instance", "msg": "gone"}

    def _of_account(self, endpoint: str, query: str, body: dict[str, Any]) -> dict[str, Any]:
        if endpoint == "user":
            return {"id": 1, "balance": 0.0, "credit": self.market.credit()}
        if endpoint == "list":
            return self._page(parse_qs(query))
        if endpoint == "charges":
            return self._charges()
        fitting = [each for each in self.market.offers.values() if _fits(each, body)]
        return {"offers": fitting[: body.get("limit", 64)]}

    def _of_machine(self, endpoint: str, machine: Rented, body: dict[str, Any]) -> dict[str, Any]:
        market = self.market
        match endpoint:
            case "show":
                return {"instances": market.record(machine)}
            case "keys":
                return {"success": True, "ssh_keys": json.dumps(machine.keys)}
            case "log":
                name = f"/logs/{machine.id}-{len(market.logs)}"
                text = _told(machine)
                market.logs[name] = (market.now() + float(machine.boot.get("log_after", 2)), text)
                # Under another name than the API's: what is kept elsewhere is not to be shown the key.
                return {"success": True, "result_url": f"http://localhost:{self.server.server_address[1]}{name}"}  # type: ignore[index]
            case "label":
                machine.label = body.get("label", machine.label)
                if "state" in body:
                    machine.kept_down = body["state"] == "stopped"
                    (machine.rest if body["state"] == "stopped" else machine.go_on)(market.now())
            case "destroy":
                machine.ended = market.now()
            case "admit":
                market.admit(machine, body["ssh_key"])
            case "bid":
                machine.order["price"] = body["price"]
        return {"success": True, "msg": endpoint}

    def _charges(self) -> dict[str, Any]:
        now = self.market.now()
        results = [
            {
                "start": int(each.began),
                "end": int(now),
                "type": "instance",
                "source": f"instance-{each.id}",
                "description": "",
                "amount": each.cost(now),
                "metadata": {"label": each.label},
                "items": [],
            }
            for each in self.market.machines.values()
        ]
        counted = {"count": len(results), "total": len(results), "next_token": None}
        return {"success": True, **counted, "results": results}

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        alive = self.market.alive()
        at = int(query.get("after_token", ["0"])[0])
        page = [self.market.record(each) for each in alive[at : at + PAGE]]
        following = str(at + PAGE) if at + PAGE < len(alive) else None
        counted = {"instances_found": len(page), "total_instances": len(alive)}
        return {"success": True, **counted, "instances": page, "next_token": following}

    def _log_file(self, path: str) -> None:
        if "authorization" in self.headers:
            self.market.leaked.append(path)
        at, text = self.market.logs[path]
        if self.market.now() < at:
            return self._plain(404, "")
        return self._plain(200, text)

    def _control(self, told: dict[str, Any] | None) -> None:
        with self.market.lock:
            if told is not None and "change" in told:
                self.market.config["credit"] = told.get("credit", self.market.config.get("credit", 25.0))
                for number, more in told["change"].items():
                    self.market.change(int(number), more)
            elif told is not None:
                self.market.faults = told
            now = self.market.now()
            machines = [
                {
                    "id": each.id,
                    "label": each.label,
                    "ended": each.ended is not None,
                    "cost": each.cost(now),
                    "stopped": each.stopped,
                    "began": each.began,
                    "price": each.price,
                }
                for each in self.market.machines.values()
            ]
        known = {"machines": machines, "calls": self.market.calls, "leaked": self.market.leaked}
        known |= {"held": list(self.market.held), "clock": [self.market.speed, self.market._at, self.market._began]}
        known |= {"credit": float(self.market.config.get("credit", 25.0))}
        known |= {"exchanges": self.market.exchanges, "now": now}
        self._answer(200, {**known, "orders": [each.order for each in self.market.machines.values()]})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _plain(self, status: int, text: str) -> None:
        self._send(status, "text/plain", text.encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked may have been killed meanwhile
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.market.now() if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        pass


_ANOTHER_KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + 32 * b"k"
_TOO_SOON = "API requests too frequent"
# What happens to a call, by its name: before it takes effect, and after.
_BEFORE: dict[Any, Callable[[Handler], None]] = {
    "429": lambda to: to._plain(429, _TOO_SOON),
    "500": lambda to: to._answer(500, {"success": False, "error": "internal", "msg": "try later"}),
    "401": lambda to: to._answer(401, {"success": False, "error": "auth_error", "msg": "Invalid user key"}),
    "drop": Handler._hang_up,
}
_AFTER: dict[Any, Callable[[Handler, dict[str, Any]], None]] = {
    "drop after": lambda to, _: to._hang_up(),
    "429 after": lambda to, _: to._plain(429, _TOO_SOON),
    "500 after": lambda to, _: to._answer(502, {"detail": "bad gateway"}),
    "no success": lambda to, value: to._answer(200, {**value, "success": False, "error": "unknown"}),
    "no json": lambda to, _: to._plain(200, "<html>maintenance</html>"),
}


def _told(machine: Rented) -> str:
    """The log of a machine, as far as its `log` lets it be told: empty, or with somebody else's host key in it."""
    if machine.boot.get("log") == "lies":
        return re.sub(r"(?<=ssh-ed25519 )\S+", base64.b64encode(_ANOTHER_KEY).decode(), machine.printed)
    return "" if machine.boot.get("log") == "empty" else machine.printed


@cache
def _driver() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "libcuda.so.1")
        source = Path(__file__).with_name("driver.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", made, source], timeout=60, check=True)
        return made.read_bytes()


def _give_driver(inside: list[str], machine: Rented) -> None:
    """What a provider brings into each of its machines; `gpu`, `tera`, `giga`, `fault` of a boot say which GPUs."""
    offer, boot = machine.offer, machine.boot
    name = boot.get("gpu", f"NVIDIA GeForce {offer['gpu_name']}")
    memory = int(offer["gpu_ram"]) << 20
    line = f"{name}|{memory}|{boot.get('tera', 80)}|{boot.get('giga', 900)}|{boot.get('cuda', offer['cuda_max_good'])}"
    lines = f"{line}|{boot.get('fault', 'none')}\n" * int(offer["num_gpus"])
    for path, content in {"/usr/lib/libcuda.so.1": _driver(), "/etc/stand-in-gpus": lines.encode()}.items():
        subprocess.run([*inside, "sh", "-c", f"cat > {path}"], input=content, timeout=60, check=True)


def _call(method: str, path: str) -> tuple[str, re.Match[str]] | None:
    for endpoint, of, pattern in _ROUTES:
        if of == method and (found := re.fullmatch(pattern, path)):
            return endpoint, found
    return None


def _fits(offer: dict[str, Any], query: dict[str, Any]) -> bool:
    for key, demand in query.items():
        if not isinstance(demand, dict) or key in ("verified", "external", "rentable", "rented"):
            continue
        has = offer.get(key)
        if "eq" in demand and has != demand["eq"]:
            return False
        if "gte" in demand and (has is None or has < demand["gte"]):
            return False
        if "in" in demand and has not in demand["in"]:
            return False
    return True


def _begin_anew(inside: list[str], machine: Rented) -> None:
    """End on a host what an earlier machine left there, if another one was that host."""
    script = Path(__file__).with_name("fresh.sh").read_bytes()
    known_as = f"{Handler.port}-{machine.id}"  # numbers begin anew with each provider
    subprocess.run([*inside, "sh", "-s", known_as], input=script, capture_output=True, timeout=60, check=True)


def _serve_inside(inside: list[str]) -> None:
    """Answer at the same address of a host of the test bed, whose network is another: as all the world can be asked."""
    init = next(word.split("=")[1] for word in inside if word.startswith("--target="))
    libc = ctypes.CDLL(None, use_errno=True)

    def serve() -> None:  # a thread may be in another network than the rest of its process (setns(2))
        with Path(f"/proc/{init}/ns/net").open(encoding="ascii") as network:
            if libc.setns(network.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        try:
            there = ThreadingHTTPServer(("127.0.0.1", Handler.port), Handler)
        except OSError:  # it is there already
            listening.set()
            return
        there.daemon_threads = True
        listening.set()
        there.serve_forever()

    listening = threading.Event()
    threading.Thread(target=serve, daemon=True).start()
    listening.wait(10)


def main(file: str) -> None:
    Handler.market = Market(json.loads(Path(file).read_text()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.port = server.server_address[1]
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

"""Vast.ai, by its API of version 0 and, for lists, 1. Traps that are met here stand beside what meets them.

A host key is in no answer of the API: what a machine prints at its start says it (`provision.targets.ssh_keys`).
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from provision.contract.budget import Call
from provision.contract.layout import BUDGET_GUARD
from provision.errors import UsageError
from provision.providers.api import Api, Clock, Said
from provision.providers.face import (
    Gone,
    Loss,
    Machine,
    Needs,
    NotRented,
    Offer,
    Order,
    Own,
    ProviderFailed,
    State,
    Unclear,
)

BASE = "https://console.vast.ai"
KEY_FILES = ("~/.config/vastai/vast_api_key", "~/.vast_api_key")  # of the provider's own tool
# Seconds between two calls of an endpoint; asked sooner, it answers 429, mostly without saying for how long.
PACES = {"rent": 4.5, "bid": 5.5, "destroy": 3.0, "show": 2.0, "list": 1.0, "search": 6.0, "log": 2.0}
LONGEST_START = 4000  # characters; what is longer is cut off without a word
LONGEST_LABEL = 256
SMALLEST_DISK = 8 << 30

_STOPPED = {"state": "stopped"}
_AVX = frozenset({"avx", "avx2", "f16c", "fma"})  # no processor has one of the others without the first
_GIB = 1 << 30
_MB = 1_000_000  # of main memory and a GPU's, as offers and instances count them
_PAGES = 400
_LOG = 1 << 20  # bytes
_LOG_SECONDS = 30.0  # until a log lies where it is said to
# What no waiting mends, in the words of the engine that starts containers there.
_FATAL = (
    "OCI runtime create failed",
    "Error response from daemon",
    "manifest unknown",
    "pull access denied",
    "no space left on device",
    "failed to register layer",
)


def provider(environ: Mapping[str, str], clock: Clock | None = None) -> Vast:
    """The account of VAST_API_KEY, else of the provider's own tool; at VAST_URL, if that is set.

    Raises:
        UsageError: there is no key.
    """
    key = environ.get("VAST_API_KEY", "").strip() or next(filter(None, map(_kept, KEY_FILES)), "")
    if not key:
        raise UsageError(
            "there is no key of a Vast.ai account.",
            why=f"VAST_API_KEY is not set, and none is in {' or '.join(KEY_FILES)}.",
            next_step="write VAST_API_KEY=… into .env; https://cloud.vast.ai/manage-keys/ makes one",
        )
    return Vast(environ.get("VAST_URL") or BASE, key, clock)


def _kept(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except OSError:
        return ""


# Run by root at each start. The key is the machine's own, which the provider put there: it opens that machine alone.
# It is in no list of processes: curl reads it, and printf is the shell's own. A disk that is full, and a file that says
# nothing, leave the end as it was ordered.
_GUARD = """\
(
umask 077
dir={folder}
mkdir -p $dir && chown 0 $dir && chmod 700 $dir || dir=/dev/null
last=$(($(date +%s)+{seconds}))
[ -s $dir/ends ] || echo $last >$dir/ends
echo "$(date +%s) $$" >$dir/start
while :; do
ends=$(cat $dir/ends)
case $ends in ''|*[!0-9]*) ends=$last;; esac
now=$(date +%s)
if [ $now -ge $ends ] && [ $now -ge ${{again:-0}} ]; then
again=$((now+60))
printf 'Authorization: Bearer %s\\n' "${key}" |
curl -fsS -m 60 -o /dev/null -X DELETE -H @- {url}
fi
[ ! -s $dir/guard.py ] || kill -0 "$guard" 2>/dev/null || {{ python3 -I $dir/guard.py & guard=$!; }}
sleep 1
done
) </dev/null >>/var/log/deploy-guard 2>&1 &
"""
_OWN_KEY, _OWN_NUMBER = "CONTAINER_API_KEY", "CONTAINER_ID"


class Vast:
    """What `face.Provider` asks for."""

    name = "Vast.ai"

    def __init__(self, base: str, key: str, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._base = base.rstrip("/")
        self._api = Api(self.name, base, key, "VAST_API_KEY", PACES, self._clock)

    def now(self) -> float:
        return self._api.now()

    def guard(self, seconds: float) -> str:
        url = f'{shlex.quote(self._base)}"/api/v0/instances/${_OWN_NUMBER}/"'
        return _GUARD.format(seconds=int(seconds), folder=BUDGET_GUARD, key=_OWN_KEY, url=url)

    def own(self, number: int) -> Own:
        url = f"{self._base}/api/v0/instances/{number}/"
        stop: Call = {"method": "PUT", "url": url, "body": json.dumps(_STOPPED)}
        return Own(_OWN_KEY, stop, {"method": "DELETE", "url": url, "body": "{}"})

    def credit(self) -> float | None:
        said = self._done(self._api.call("GET", "/api/v0/users/current/", "show"))
        credit = said.get("credit", said.get("balance"))
        return float(credit) if isinstance(credit, int | float) else None

    def offers(self, needs: Needs) -> Sequence[Offer]:
        asked = {
            "verified": {"eq": True},
            "external": {"eq": False},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "num_gpus": {"eq": needs.gpus},
            "gpu_ram": {"gte": needs.vram / _MB},
            "cpu_ram": {"gte": needs.memory / _MB},
            "disk_space": {"gte": _gib(needs.disk)},
            "inet_down": {"gte": needs.down / 1e6},
            "inet_up": {"gte": needs.up / 1e6},
            "reliability": {"gte": needs.reliability},
            "cuda_max_good": {"gte": needs.cuda},
            "direct_port_count": {"gte": needs.ports},
        }
        if needs.capability:
            asked["compute_cap"] = {"gte": round(100 * needs.capability)}
        if needs.features & _AVX:
            asked["has_avx"] = {"eq": 1}
        if needs.gpu:
            asked["gpu_name"] = {"in": list(needs.gpu)}
        query = {
            **asked,
            "type": "bid" if needs.kind == "interruptible" else "on-demand",
            "order": [["dph_total", "asc"], ["id", "asc"]],
            "limit": 64,
            "allocated_storage": _gib(needs.disk),
        }
        said = self._done(self._api.call("POST", "/api/v0/bundles/", "search", query))
        found = [offer for record in _list(said, "offers") if (offer := _offer(record))]
        return sorted((each for each in found if each.machine not in needs.avoid), key=lambda each: each.per_hour)

    def rent(self, offer: Offer, order: Order) -> int:
        if len(order.start) > LONGEST_START or len(order.label) > LONGEST_LABEL:
            raise ValueError("longer than the provider takes")  # a fault of ours: it would cut it off
        body = {
            "client_id": "me",
            "image": order.image,
            "disk": _gib(max(order.disk, SMALLEST_DISK)),
            "label": order.label,
            "onstart": order.start,
            "runtype": "ssh_direct",
            "env": {**order.env, **{f"-p {port}:{port}": "1" for port in order.ports}},
            # Else what is no longer to be had becomes a stopped machine, whose disk is paid for.
            "cancel_unavail": True,
        }
        if order.bid is not None:
            body["price"] = order.bid  # without it an offer for bids is rented on demand, and nothing says so
        said = self._api.call("PUT", f"/api/v0/asks/{offer.id}/", "rent", body, again=False)
        value = said.value if isinstance(said.value, dict) else {}
        made = value.get("new_contract")
        if said.status < 300 and value.get("success") is True and isinstance(made, int):
            return made
        if isinstance(made, int):
            # A bid that was too low is refused, and leaves a machine that is stopped.
            self.destroy(made)
        raise self._not_rented(said)

    def _not_rented(self, said: Said) -> Exception:
        error = str(said.value.get("error", "")) if isinstance(said.value, dict) else ""
        if said.status in (404, 410) or "no_such_ask" in error or error == "invalid_price":
            return Gone(f"{self.name}: the offer is no more.", why=said.reason)
        if said.status < 300:
            return Unclear(f"{self.name} did not say whether it rented the machine.", why=said.reason)
        return NotRented(
            f"{self.name} rents nothing to this account now.",
            why=said.reason,
            next_step="look at the account's credit and limits on the provider's page",
        )

    def machines(self) -> Sequence[Machine]:
        records = self._pages("/api/v1/instances/?limit=25", "list", "instances")
        return [machine for record in records if (machine := _machine(record, self.now()))]

    def _pages(self, path: str, endpoint: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token, seen = "", set[str]()
        for _ in range(_PAGES):
            after = f"&after_token={quote(token, safe='')}" if token else ""
            said = self._api.call("GET", f"{path}{after}", endpoint)
            if said.status == 404:  # a key that is not known is answered so, too
                raise self._api.key_refused(said)
            page = self._done(said)
            found += _list(page, key)
            token = str(page.get("next_token") or "")
            if not token or token in seen:
                return found
            seen.add(token)
        raise ProviderFailed(f"{self.name} lists {key} without end.", why=f"{len(found)} were read.")

    def machine(self, number: int) -> Machine | None:
        said = self._api.call("GET", f"/api/v0/instances/{number}/?owner=me", "show")
        if said.status == 404:
            return None
        record = self._done(said).get("instances")
        return _machine(record, self.now()) if isinstance(record, dict) else None

    def log(self, number: int, lines: int) -> str:
        said = self._done(
            self._api.call("PUT", f"/api/v0/instances/request_logs/{number}/", "log", {"tail": str(lines)})
        )
        url = said.get("result_url")
        if not isinstance(url, str):
            return ""
        # It is put there after the answer: until then there is nothing, or what was asked for before.
        until = self._clock.now() + _LOG_SECONDS
        while (text := self._api.fetch(url, _LOG)) is None and self._clock.now() < until:
            self._clock.sleep(1.0)
        return text or ""

    def admit(self, number: int, public_key: str) -> None:
        path = f"/api/v0/instances/{number}/ssh/"
        there = self._done(self._api.call("GET", path, "show")).get("ssh_keys")
        if public_key.split()[1] not in str(there):
            self._done(self._api.call("POST", path, "show", {"ssh_key": public_key}))

    def rename(self, number: int, label: str) -> None:
        self._done(self._api.call("PUT", f"/api/v0/instances/{number}/", "show", {"label": label}))

    def start(self, number: int) -> None:
        self._done(self._api.call("PUT", f"/api/v0/instances/{number}/", "show", {"state": "running"}))

    def stop(self, number: int) -> None:
        self._done(self._api.call("PUT", f"/api/v0/instances/{number}/", "show", _STOPPED))

    def paid(self, label: str, since: float) -> Mapping[int, float]:
        # The document leaves the filter open; this is how the provider's own client writes it.
        days = {"day": {"gte": int(since), "lte": int(self.now()) + 86400}, "type": {"in": ["instance"]}}
        asked = urlencode({"select_filters": json.dumps(days), "format": "table", "limit": 100})
        paid: dict[int, float] = {}
        for charge in self._pages(f"/api/v0/charges/?{asked}", "list", "results"):
            metadata, (kind, _, number) = charge.get("metadata"), str(charge.get("source")).partition("-")
            named = str(metadata.get("label") or "") if isinstance(metadata, dict) else ""
            if kind == "instance" and number.isdecimal() and named.startswith(label):
                paid[int(number)] = paid.get(int(number), 0.0) + _number(charge.get("amount"))
        return paid

    def destroy(self, number: int) -> None:
        said = self._api.call("DELETE", f"/api/v0/instances/{number}/", "destroy", {})
        if said.status != 404:
            self._done(said)

    def _done(self, said: Said) -> dict[str, Any]:
        """What an answer says that says it was done. 200 alone does not: `success` may be false."""
        if said.status >= 300 or not isinstance(said.value, dict) or said.value.get("success") is False:
            raise ProviderFailed(f"{self.name} said no.", why=said.reason)
        return said.value


def _offer(record: Mapping[str, Any]) -> Offer | None:
    """One that can be understood; the others are nobody's loss."""
    try:
        if not 0 < float(record["dph_total"]) < math.inf:
            return None
        bid, ends = record.get("min_bid"), record.get("duration")
        return Offer(
            id=int(record["id"]),
            machine=int(record["machine_id"]),
            gpu=str(record["gpu_name"]),
            gpus=int(record["num_gpus"]),
            vram=int(record["gpu_ram"]) * _MB,
            memory=int(record.get("cpu_ram") or 0) * _MB,
            disk=int(float(record.get("disk_space") or 0) * _GIB),
            down=int(float(record.get("inet_down") or 0) * 1e6),
            reliability=float(record.get("reliability2") or record.get("reliability") or 0),
            per_hour=float(record["dph_total"]),
            lowest_bid=float(bid) if bid is not None else None,
            where=str(record.get("geolocation") or ""),
            ends=float(ends) if ends is not None else None,
            cuda=_number(record.get("cuda_max_good")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _machine(record: Mapping[str, Any], now: float) -> Machine | None:
    """As it is now, by the provider's clock; None: it can't be understood."""
    try:
        return Machine(
            id=int(record["id"]),
            machine=int(_number(record.get("machine_id"))),
            label=str(record.get("label") or ""),
            state=_state(record),
            said=" ".join(str(record.get("status_msg") or record.get("actual_status") or "").split())[:300],
            gpu=f"{record.get('num_gpus') or 0} x {record.get('gpu_name') or ''}",
            per_hour=_number(record.get("dph_total")),
            is_bid=bool(record.get("is_bid")),
            began=_number(record.get("start_date")) or now,
            address=_address(record),
            ports=dict(_ports(record)),
            stopped_per_hour=_number(record.get("storage_total_cost")),
            per_byte_in=_number(record.get("inet_down_cost")) / 1e9,
            per_byte_out=_number(record.get("inet_up_cost")) / 1e9,
            loss=_loss(record, now),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _number(value: object) -> float:
    """0 for what is none: a machine of which that can't be understood costs as any other, and has to be known."""
    try:
        number = float(str(value or 0))
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _state(record: Mapping[str, Any]) -> State:
    actual = record.get("actual_status")
    if actual in ("exited", "unknown", "offline") or _is_fatal(record):
        return State.DEAD
    if _is_stopped(record):
        return State.LOST if _is_outbid(record) else State.STOPPED
    return State.RUNNING if actual == "running" else State.STARTING


def _loss(record: Mapping[str, Any], now: float) -> Loss | None:
    state, ends = _state(record), _number(record.get("end_date"))
    if state is State.DEAD:
        return Loss.OFFLINE if record.get("actual_status") in ("unknown", "offline") else Loss.BROKEN
    if state in (State.LOST, State.STOPPED) and 0 < ends <= now:
        return Loss.ENDED
    return Loss.OUTBID if state is State.LOST else None


def _is_fatal(record: Mapping[str, Any]) -> bool:
    said = str(record.get("status_msg") or "")
    return record.get("actual_status") != "running" and any(words in said for words in _FATAL)


def _is_stopped(record: Mapping[str, Any]) -> bool:
    asked = {record.get(key) for key in ("cur_state", "intended_status", "next_state")}
    return asked == {"stopped"} or record.get("actual_status") in ("stopped", "frozen")


def _is_outbid(record: Mapping[str, Any]) -> bool:
    """Whoever stops a machine, and whoever bids more, leaves the same words. What tells them apart is what has to be
    bid by now; where that is not said, a bid that is stopped is taken for one that was too low.
    """
    least, bid = record.get("min_bid"), record.get("dph_base", record.get("dph_total"))  # a bid is without the disk
    return bool(record.get("is_bid")) and (least is None or _number(least) > _number(bid))


def _address(record: Mapping[str, Any]) -> tuple[str, int] | None:
    """Where ssh answers: directly where the machine has a port for it, else through the provider's own host."""
    if direct := dict(_ports(record)).get(22):
        return direct
    host, port = record.get("ssh_host"), int(_number(record.get("ssh_port")))
    if not host or not port:
        return None
    return str(host), port + ("jupyter" in str(record.get("image_runtype") or ""))


def _ports(record: Mapping[str, Any]) -> Iterator[tuple[int, tuple[str, int]]]:
    ports, host = record.get("ports"), str(record.get("public_ipaddr") or "").strip()
    for inner, outer in ports.items() if isinstance(ports, dict) and host else ():
        number, _, protocol = inner.partition("/")
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):
            if protocol == "tcp" and outer:
                yield int(number), (host, int(outer[0]["HostPort"]))


def _list(said: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = said.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _gib(size: int) -> int:
    return math.ceil(size / _GIB)

"""Vast.ai, by its API of version 0 and, for lists, 1. Traps that are met here stand beside what meets them.

What its records mean is in `vast_records`. A host key is in none: what a machine prints at its start says it
(`provision.targets.ssh_keys`).
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from provision.contract.budget import Call
from provision.contract.layout import BUDGET_GUARD
from provision.errors import UsageError
from provision.providers.api import Api, Clock, Said
from provision.providers.face import (
    Gone,
    Machine,
    Needs,
    NotRented,
    Offer,
    Order,
    Own,
    ProviderFailed,
    Unclear,
)
from provision.providers.vast_records import GIB, MB, machine_of, number_of, offer_of

BASE = "https://console.vast.ai"
KEY_FILES = ("~/.config/vastai/vast_api_key", "~/.vast_api_key")  # of the provider's own tool
# Seconds between two calls of an endpoint; asked sooner, it answers 429, mostly without saying for how long.
PACES = {"rent": 4.5, "destroy": 3.0, "show": 2.0, "list": 1.0, "search": 6.0, "log": 2.0}
LONGEST_START = 4000  # characters; what is longer is cut off without a word
LONGEST_LABEL = 256
SMALLEST_DISK = 8 << 30

_STOPPED = {"state": "stopped"}
_AVX = frozenset({"avx", "avx2", "f16c", "fma"})  # no processor has one of the others without the first
_PAGES = 400
_LOG = 1 << 20  # bytes
_LOG_SECONDS = 30.0  # until a log lies where it is said to


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
            "gpu_ram": {"gte": needs.vram / MB},
            "cpu_ram": {"gte": needs.memory / MB},
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
        found = [offer for record in _list(said, "offers") if (offer := offer_of(record))]
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
        return [machine for record in records if (machine := machine_of(record, self.now()))]

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
        return machine_of(record, self.now()) if isinstance(record, dict) else None

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
                paid[int(number)] = paid.get(int(number), 0.0) + number_of(charge.get("amount"))
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


def _list(said: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = said.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _gib(size: int) -> int:
    return math.ceil(size / GIB)

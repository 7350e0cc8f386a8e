from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from provision.providers.api import Clock
from provision.providers.vast import Vast
from provision.targets import acceptance
from tests.faults.hooks import until
from tests.providers.books import agree, of_account
from tests.providers.hurried import faults_but_of_clocks

KEY = "the-account's-own-key"
SPEED = 200  # an hour there is 18 s here


def offer(number: int, **more: Any) -> dict[str, Any]:
    """One as the API shows it; the higher the number, the dearer."""
    return {
        "id": number,
        "machine_id": 100 + number,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram": 24564,
        "cpu_ram": 64000,
        "disk_space": 200.0,
        "inet_down": 800.0,
        "inet_up": 300.0,
        "reliability": 0.99,
        "reliability2": 0.99,
        "cuda_max_good": 12.8,
        "compute_cap": 890,
        "has_avx": 1,
        "direct_port_count": 20,
        "dph_total": 0.30 + number / 100,
        "min_bid": 0.10 + number / 100,
        "geolocation": "Quebec, CA",
        "duration": 30 * 86400.0,
        **more,
    }


@dataclass
class Rental:
    """The provider, as it is seen from both sides."""

    url: str

    @property
    def vast(self) -> Vast:
        return Vast(self.url, KEY, CLOCK)

    def fail(self, **faults: Any) -> None:
        """What happens to the next calls of an endpoint."""
        request = urllib.request.Request(f"{self.url}/control", json.dumps(faults).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def release(self, endpoint: str) -> None:
        """Let a call go on that is being held, and wait until it has taken effect."""
        request = urllib.request.Request(f"{self.url}/release/{endpoint}", b"", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        until(lambda: endpoint not in self.known()["held"], f"{endpoint} takes effect")

    def change(self, number: int, *, credit: float | None = None, **boot: Any) -> None:
        """How a machine behaves from now on, and what the account has; a machine that is stopped no more boots."""
        told = {"change": {number: boot}} | ({} if credit is None else {"credit": credit})
        request = urllib.request.Request(f"{self.url}/control", json.dumps(told).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def known(self) -> dict[str, Any]:
        """What only the provider knows."""
        with urllib.request.urlopen(f"{self.url}/control", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def alive(self) -> list[int]:
        return [each["id"] for each in self.known()["machines"] if not each["ended"]]


CLOCK = Clock(lambda: time.monotonic() * SPEED, lambda seconds: time.sleep(seconds / SPEED))


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test learns about machines and images is no other's, and hosts have not the provider's clock."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(acceptance, "faults", faults_but_of_clocks)


@contextmanager
def standing_in(file: Path, **config: Any) -> Iterator[Rental]:
    """A provider in a process of its own; `file` is for what it is told."""
    file.write_text(json.dumps({"key": KEY, "speed": SPEED, **config}))
    command = [sys.executable, "-m", "tests.providers.vast_server", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Rental(process.stdout.readline().strip())
        finally:
            process.terminate()


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Callable[..., Rental]]:
    """Start a provider: which offers it has, and how what is rented behaves.

    At the test's end nothing that was rented there is unknown, and every sum is exact (`books`).
    """
    started: list[Rental] = []
    with ExitStack() as running:
        files = (tmp_path / f"market-{number}.json" for number in count())

        def start(offers: list[dict[str, Any]] | None = None, *boots: dict[str, Any], **more: Any) -> Rental:
            config = {"offers": offers or [offer(n) for n in range(1, 4)], "boots": boots, **more}
            started.append(running.enter_context(standing_in(next(files), **config)))
            return started[-1]

        yield start
        for rental in started:
            rental.fail()  # what was to go wrong from here on
            agree(rental, of_account(rental))

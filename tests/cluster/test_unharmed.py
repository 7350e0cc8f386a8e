"""Users who never stop, through a Gateway, while releases come and go: twenty rollouts cost them nothing."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway, route

pytestmark = pytest.mark.slow

ROLLOUTS = 20
_LONG = "/?for=900ms"  # an answer that is under way when its pod is told to go
_NEVER = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "2s"\n'


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("copies", [1, 2])
def test_twenty_rollouts_cost_no_request(copies: int, small: Declared, gateway: Gateway) -> None:
    """Those that stay, that are put back, that go back, and that a canary proves first."""
    host = f"{small.name}.test"
    small.write("v0", replicas=copies)
    small.ok("up")
    text = json.dumps(route("public", host, [{"name": "web", "port": 8000}]))
    small.kubectl("apply", "--server-side", "-f", "-", text=text)
    gateway.wait_for(host)
    serves = "v0"

    def stays(new: str) -> str:
        small.write(new, replicas=copies)
        small.ok("up")
        return new

    def is_put_back(new: str) -> str:
        small.write(new, replicas=copies, more=_NEVER)
        assert small.run("up").returncode == 1
        return serves

    def goes_back_and_forth(new: str) -> str:
        small.ok("rollback")
        small.ok("rollback")
        return serves

    def is_a_canary_first(new: str) -> str:
        small.write(new, replicas=copies)
        small.ok("up", "--channel", "canary", "--weight", "50%")
        small.ok("promote")
        return new

    kinds: list[Callable[[str], str]] = [stays, is_put_back, is_a_canary_first, goes_back_and_forth]
    with gateway.load(host) as quick, gateway.load(host, _LONG) as long:
        for number, kind in zip(range(1, ROLLOUTS + 1), itertools.cycle(kinds)):
            serves = kind(f"v{number}")
            assert small.versions() == {serves}

    answered = {f"200 v{number}" for number in range(ROLLOUTS + 1)}
    assert set(quick) | set(long) <= answered, (quick, long)
    assert sum(quick.values()) > 1000
    assert sum(long.values()) > 100
    assert set(gateway.ask(host, 40)) == {f"200 {serves}"}


def test_an_answer_that_takes_as_long_as_the_drain_is_given_by_the_pod_that_goes(
    small: Declared, gateway: Gateway
) -> None:
    """It is begun a moment before its pod is told to go, which is then asked no more."""
    host = f"{small.name}.test"

    def declare(version: str) -> None:
        small.write(version)
        file = small.root / "deploy.toml"
        file.write_text(file.read_text().replace('drain = "0s"', 'drain = "12s"'))

    declare("v0")
    small.ok("up")
    text = json.dumps(route("public", host, [{"name": "web", "port": 8000}]))
    small.kubectl("apply", "--server-side", "-f", "-", text=text)
    gateway.wait_for(host)
    declare("v1")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(gateway.ask, host, 8, path="/?for=11s")
        time.sleep(0.5)

        small.ok("up")

        assert asked.result() == {"200 v0": 8}
    assert set(gateway.ask(host, 40)) == {"200 v1"}

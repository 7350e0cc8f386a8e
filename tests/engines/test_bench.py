"""A bench asks a real llama-server as its users do, says what they met, and judges that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from provision.agent import others
from provision.agent.checks import bench, load, prove
from provision.agent.checks.check import Final
from provision.agent.checks.here import Here
from provision.agent.sockets import Bearer
from tests.engines.conftest import Server, Starts

KEY = "a-key-that-nobody-else-sees"


def document(url: str, **more: Any) -> Any:
    return {
        "name": "llm bench",
        "kind": "bench",
        "timeout": 60.0,
        "interval": 0.2,
        "passes": 1,
        "attempt_timeout": 60.0,
        "url": url,
        "token": "",
        "prompt": 60,
        "generate": 40,
        "parallel": 3,
        "form": "full",
        "ttft_p95": 0.0,
        "tokens_per_second": 0.0,
        "regression": 0.0,
        **more,
    }


def test_requests_side_by_side_are_measured_as_their_users_meet_them(start: Starts) -> None:
    server = start("--parallel", "3", "--ctx-size", "2048").wait()

    outcome = prove(document(f"http://127.0.0.1:{server.port}"), Here())

    assert outcome.passed, outcome.sentence
    short, full = outcome.facts["short"], outcome.facts["full"]
    assert (short["requests"], short["generated"]) == (3, 96)
    assert (full["requests"], full["generated"]) == (9, 360)
    assert full["prompt_tokens"] == pytest.approx(60, abs=20)  # by words, each of which has its own number of tokens
    assert 0 < full["ttft_p50"] <= full["ttft_p95"] < full["seconds"]
    # By its own count a request is about as fast.
    status, said = server.ask("/completion", json.dumps({"prompt": "so", "n_predict": 40, "ignore_eos": True}).encode())
    assert status == 200
    alone = json.loads(said)["timings"]["predicted_per_second"]
    assert full["tokens_per_second_each"] < 3 * alone
    assert full["tokens_per_second"] > alone / 6


def test_no_cache_of_prompts_makes_it_look_faster(start: Starts) -> None:
    server = start("--parallel", "1", "--ctx-size", "2048", "--metrics").wait()

    prove(document(f"http://127.0.0.1:{server.port}", parallel=1), Here())

    metrics = server.ask("/metrics")[1].decode()
    computed = next(
        float(line.split()[1]) for line in metrics.splitlines() if line.startswith("llamacpp:prompt_tokens_total")
    )
    assert computed > 3.5 * 60 * 0.8  # four measured requests and the trial, each computed as a whole


def test_while_users_wait_one_short_round_is_all(start: Starts) -> None:
    server = start("--parallel", "3", "--ctx-size", "2048").wait()

    outcome = prove(document(f"http://127.0.0.1:{server.port}", form="short"), Here())

    assert outcome.passed
    assert "full" not in outcome.facts
    assert outcome.facts["short"]["generated"] == 96


def test_a_service_that_is_too_slow_does_not_pass_and_says_by_how_much(start: Starts) -> None:
    server = start("--parallel", "3", "--ctx-size", "2048").wait()

    outcome = prove(document(f"http://127.0.0.1:{server.port}", tokens_per_second=1e6, form="short"), Here())

    assert not outcome.passed
    assert "tokens/s of 3 requests at once, below the 1e+06 that are declared" in outcome.sentence
    assert outcome.facts["short"]["generated"] == 96  # evidence has it


def test_a_prompt_that_does_not_fit_is_said_in_the_server_s_words(start: Starts) -> None:
    server = start("--parallel", "1", "--ctx-size", "256").wait()

    outcome = prove(document(f"http://127.0.0.1:{server.port}", prompt=4000, parallel=1), Here())

    assert not outcome.passed
    assert "exceed" in outcome.sentence
    assert outcome.seconds < 30  # another attempt would not pass


def test_it_waits_for_a_model_that_is_being_loaded(start: Starts) -> None:
    server = start("--ctx-size", "2048")

    assert prove(document(f"http://127.0.0.1:{server.port}", form="short"), Here()).passed


def test_it_shows_the_key_to_the_service_alone(start: Starts) -> None:
    server = start("--api-key", KEY, "--ctx-size", "2048").wait()
    url = f"http://127.0.0.1:{server.port}"

    without = prove(document(url, form="short"), Here())
    with_it = prove(document(url, form="short"), Here(bearer=Bearer(KEY, "llm", lambda: {server.process.pid})))
    asked = document(url, form="short", timeout=1.0)
    to_another = prove(asked, Here(bearer=Bearer(KEY, "llm", lambda: {os.getpid()})))

    assert (without.passed, with_it.passed, to_another.passed) == (False, True, False)
    assert "its token was not sent" in to_another.sentence


def test_who_else_computes_is_named_and_the_service_is_not(start: Starts, tmp_path: Path) -> None:
    server = start("--ctx-size", "2048").wait()
    (tmp_path / "burner").symlink_to(sys.executable)
    with subprocess.Popen([tmp_path / "burner", "-c", "while True: pass"]) as busy:
        try:
            said = others.beside(lambda: {server.process.pid})
            time.sleep(1.0)
            now = " ".join(said())
            ours = " ".join(_beside(server, busy.pid))
        finally:
            busy.kill()

    assert "burner" in now
    assert "burner" not in ours


def _beside(server: Server, pid: int) -> list[str]:
    said = others.beside(lambda: {server.process.pid, pid})
    time.sleep(0.5)
    return said()


RATES: Any = {"ttft_p50": 1.0, "ttft_p95": 1.5, "tokens_per_second": 100.0, "seconds": 10.0, "generated": 1000}


@pytest.mark.parametrize(
    ("seen", "regression", "expected"),
    [
        ({}, 0.1, []),
        ({"tokens_per_second": 91.0, "ttft_p50": 1.09, "ttft_p95": 9.0}, 0.1, []),
        ({"tokens_per_second": 89.0}, 0.1, ["89.0 tokens/s, and stable measured 100.0 here: more than 10% less"]),
        (
            {"ttft_p50": 1.2},
            0.1,
            ["the first token takes 1.20 s, and stable measured 1.00 s here: more than 10% longer"],
        ),
        ({"tokens_per_second": 1.0}, 0.0, []),
    ],
)
def test_it_is_compared_with_what_stable_measured(
    seen: dict[str, float], regression: float, expected: list[str]
) -> None:
    check = document("", regression=regression, stable={"short": RATES, "full": RATES, "beside": [], "worse": []})
    measured: Any = {"short": {**RATES, **seen}, "beside": [], "worse": []}

    assert bench.worse(check, measured) == expected
    assert bench.worse(check, {**measured, "beside": ["others used 1.0 of 2 cores"]}) == []


def test_only_what_both_measured_is_compared() -> None:
    slow = {**RATES, "tokens_per_second": 50.0}
    check = document("", regression=0.1, stable={"short": RATES, "beside": [], "worse": []})
    measured: Any = {"short": RATES, "full": slow, "beside": [], "worse": []}

    assert bench.worse(check, measured) == []
    assert measured["stable"] == RATES


def test_of_two_measurements_the_better_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [50.0, 90.0]
    monkeypatch.setattr(load, "Load", lambda *_: None)
    monkeypatch.setattr(
        bench, "_measure", lambda *_: {"short": {**RATES, "tokens_per_second": seen.pop(0)}, "beside": [], "worse": []}
    )

    assert bench.attempt(document("", tokens_per_second=80.0), Here(), 60.0)["short"]["tokens_per_second"] == 90.0

    seen[:] = [50.0, 60.0]
    with pytest.raises(Final, match=r"60\.0 tokens/s of 3 requests at once, below the 80"):
        bench.attempt(document("", tokens_per_second=80.0), Here(), 60.0)


class Odd(BaseHTTPRequestHandler):
    """Answers `/v1/completions` with what the path of its server says."""

    says: bytes = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.says)
        self.wfile.flush()
        if self.says.endswith(b"wait\n"):
            time.sleep(20)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"", "the model predicted no token"),
        (b"data: no\n\n", "an event is no JSON"),
        (b'data: {"error": {"message": "out of memory"}}\n\n', "it says amid its answer: {'message': 'out of memory'}"),
        (b'data: {"choices": [{"text": "a"}]}\n\n:wait\n', "no answer in 2 s"),
    ],
)
def test_an_odd_answer_ends_it_with_a_reason(says: bytes, why: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Says", (Odd,), {"says": says}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        asked = document(f"http://127.0.0.1:{server.server_port}", timeout=2.0, attempt_timeout=2.0)
        outcome = prove(asked, Here())
    finally:
        server.shutdown()
        server.server_close()

    assert why in outcome.sentence
    assert outcome.seconds < 10


def test_the_95th_of_100_is_the_95th() -> None:
    assert load.share([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert load.share([1.0], 0.95) == 1.0

"""Probes of checks: each kind has one, it judges alike wherever it asks from, and it ends when its time is over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provision.agent import attend
from provision.agent.checks import PROBES
from provision.agent.checks.check import Answer, Failed
from provision.agent.checks.here import BODY_LIMIT, Here
from provision.images.smoke.run import INSIDE
from provision.project.checks import IN_IMAGES, KINDS
from tests.endless import endless

ROOT = Path(__file__).parents[2]
ASKED = {"url": "http://127.0.0.1:1", "prompt": "and", "tokens": 2}
TOLD = json.dumps({"tokens_predicted": 2, "content": "so on", "timings": {"predicted_per_second": 4.26}})


@dataclass
class Told:
    """A reach that has one answer, whatever is asked."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    then: tuple[Answer, ...] = ()  # to what is asked after the first

    def ask(self, url: str, seconds: float, body: bytes | None = None) -> Answer:
        first = Answer(self.status, self.text, self.headers)
        return first if body is not None or not self.then else self.then[0]

    def connect(self, host: str, port: int, seconds: float) -> None: ...

    def run(self, argv: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
        return self.text

    def said(self) -> str:
        return self.log


PASSES: list[tuple[str, dict[str, Any], Told, dict[str, Any]]] = [
    ("http", {"status": [204]}, Told(204, ""), {"status": 204}),
    ("http", {"status": [200], "body": "o+k"}, Told(200, "ook"), {"status": 200}),
    ("http", {"status": [200], "headers": {"Server": "^uv"}}, Told(200, "", {"server": "uvi"}), {"status": 200}),
    ("http", {}, Told(0, "ok"), {"bytes": 2}),
    ("tcp", {"host": "127.0.0.1", "port": 1}, Told(0, ""), {}),
    ("command", {"argv": ["true"]}, Told(0, "said"), {"output": "said"}),
    *(
        ("completion", ASKED, Told(status, TOLD), {"tokens": 2, "tokens_per_second": 4.26, "content": "so on"})
        for status in (0, 200)
    ),
]
ACCEPTED = {"location": "/jobs/1"}
BATCH = {"url": "http://127.0.0.1:1/batch", "send": "{}"}
LOADED = """\
0.01 I load_tensors: offloaded 20/33 layers to GPU
0.01 I load_tensors:        CUDA0 model buffer size =  2000.00 MiB
0.01 I load_tensors:    CUDA_Host model buffer size =   100.00 MiB
0.01 I load_tensors:   CPU_Mapped model buffer size =   900.00 MiB
"""
SILENT = "RTX 4090 is there, and llama-server does not say that a layer lies on it"
ON_GPU = {"gpus": ["RTX 4090"], "layers": 20, "of": 33, "mib": 2000, "of_mib": 3000}
PASSES += [
    ("batch", {**BATCH, "body": "so"}, Told(202, "1", ACCEPTED, then=(Answer(200, "so on", {}),)), {"accepted": "1"}),
    ("gpu", {"layers": "auto"}, Told(0, "RTX 4090", log=LOADED), ON_GPU),
    ("gpu", {"layers": "20"}, Told(0, "RTX 4090", log="offloaded 1/33 layers to GPU\n" + LOADED), ON_GPU),
    ("gpu", {"layers": "auto"}, Told(0, ""), {"gpus": []}),
]
FAILS: list[tuple[str, dict[str, Any], Told, str]] = [
    ("http", {"status": [200]}, Told(503, '{"error": {"message": "Loading model"}}'), "HTTP 503 Loading model"),
    ("http", {"status": [200]}, Told(404, "no\n such  page"), "HTTP 404 no such page"),
    ("http", {"status": [200], "body": "ok"}, Told(200, "ko"), "HTTP 200, but the body does not match 'ok': ko"),
    (
        "http",
        {"status": [200], "headers": {"Server": "^uv"}},
        Told(200, ""),
        "header Server is None, expected a match of '^uv'",
    ),
    ("batch", BATCH, Told(404, "no page"), "HTTP 404 no page; expected 202 and where its state is"),
    ("batch", BATCH, Told(202, "1"), "HTTP 202 without a Location; expected 202 and where its state is"),
    ("batch", BATCH, Told(202, "1", {"location": "http://a/1"}), "its state is elsewhere: http://a/1"),
    ("batch", BATCH, Told(202, "1", {"location": "http://["}), "its state is at no address: 'http://['"),
    ("batch", BATCH, Told(202, "1", {"location": "/ü"}), "its state is at no address: '/ü'"),
    ("batch", BATCH, Told(202, "1", ACCEPTED, then=(Answer(500, "oh", {}),)), "done, with HTTP 500 oh"),
    (
        "batch",
        {**BATCH, "body": "ok"},
        Told(202, "1", ACCEPTED, then=(Answer(200, '{"error": "no model"}', {}),)),
        "done, but the result does not match 'ok': no model",
    ),
    ("gpu", {"layers": "all"}, Told(0, ""), "no GPU was found (nvidia-smi)"),
    (
        "gpu",
        {"layers": "all"},
        Told(0, "RTX 4090", log=LOADED),
        "20 of 33 layers are on the GPU, with 2000 of 3000 MiB; all are demanded",
    ),
    (
        "gpu",
        {"layers": "auto"},
        Told(0, "RTX 4090", log="warning: no usable GPU found\n"),
        f"{SILENT}: it has no CUDA, or found no driver",
    ),
    (
        "gpu",
        {"layers": "auto"},
        Told(0, "RTX 4090"),
        f"{SILENT}: its log has no line of load_tensors; set LLAMA_ARG_LOG_VERBOSITY to 4",
    ),
    ("completion", ASKED, Told(401, '{"detail": "no key"}'), "HTTP 401 no key"),
    ("completion", ASKED, Told(0, "<html>"), "the answer is not a completion: <html>"),
    ("completion", ASKED, Told(0, "[]"), "the answer is not a completion: []"),
    ("completion", ASKED, Told(200, "{}"), "the model predicted no token"),
    (
        "completion",
        {**ASKED, "min_tokens_per_second": 5.0},
        Told(200, TOLD),
        "4.3 tokens/s, below the 5 that are demanded",
    ),
]


@pytest.mark.parametrize(("kind", "check", "told", "facts"), PASSES)
def test_a_probe_that_passes_keeps_what_it_saw(
    kind: str, check: dict[str, Any], told: Told, facts: dict[str, Any]
) -> None:
    found = PROBES[kind]({"url": "http://127.0.0.1:1", **check}, told, 5.0)

    assert {key: value for key, value in found.items() if key not in ("latency_seconds", "seconds")} == facts


@pytest.mark.parametrize(("kind", "check", "told", "why"), FAILS)
def test_a_probe_that_fails_says_what_it_was_told(kind: str, check: dict[str, Any], told: Told, why: str) -> None:
    with pytest.raises(Failed, match=f"^{re.escape(why)}$"):
        PROBES[kind]({"url": "http://127.0.0.1:1", **check}, told, 5.0)


class Driver(Told):
    """A driver that is there and fails, or none."""

    def run(self, argv: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
        raise Failed(self.text)


def test_a_driver_that_fails_is_no_machine_without_a_gpu() -> None:
    none, broken = Driver(0, "could not start: No such file or directory"), Driver(0, "exit status 9: no devices")
    assert PROBES["gpu"]({"layers": "auto"}, none, 5.0) == {"gpus": []}
    with pytest.raises(Failed, match=r"^nvidia-smi: exit status 9: no devices$"):
        PROBES["gpu"]({"layers": "auto"}, broken, 5.0)


def test_work_that_is_never_done_is_given_up_with_what_was_said_when_it_was_accepted() -> None:
    waiting = Told(202, '{"worker": "not started"}', ACCEPTED)
    with pytest.raises(Failed, match=r'^not done in 0 s; .* accepted: \{"worker": "not started"\}$'):
        PROBES["batch"](BATCH, waiting, 0.3)


def test_what_a_project_can_declare_can_be_probed_and_is_documented() -> None:
    for_projects = (ROOT / "docs/deploy.toml.md").read_text()
    for_images = (ROOT / "images/README.md").read_text()

    assert KINDS.keys() == PROBES.keys()
    assert IN_IMAGES.keys() <= INSIDE.keys()
    for kind in KINDS:
        assert re.search(rf"^{kind} = ", for_projects, re.MULTILINE), f"docs/deploy.toml.md shows no {kind}"
    for kind in IN_IMAGES:
        assert f"`{{ {kind} = " in for_images, f"images/README.md shows no {kind}"


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["head", "body", "announced", "chunks", "continued"],
)
def test_an_answer_that_comes_by_bytes_and_never_ends_is_given_up(head: bytes, drip: bytes) -> None:
    with endless(head, drip) as port, pytest.raises(Failed, match=r"^no answer in 0 s$"):
        Here().ask(f"http://127.0.0.1:{port}/", 0.3)


def test_of_an_answer_that_never_ends_its_beginning_is_looked_at() -> None:
    with endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536) as port:
        assert len(Here().ask(f"http://127.0.0.1:{port}/", 60).text) == BODY_LIMIT


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"])
def test_a_service_that_drips_is_not_idle_and_holds_nobody_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 13, 6: whoever asks before a stop, launchers on systemd among them, has one deadline in all."""
    monkeypatch.setattr(attend, "_SECONDS", 0.3)
    with endless(head, b"x") as port:
        assert attend.is_idle(port, "/metrics", ["busy"]) == (False, "timed out")


def test_metrics_without_an_end_are_not_waited_for() -> None:
    """Issue 13, 7: they are read up to a bound, which is said, and never as a list of lines."""
    with endless(b"HTTP/1.1 200 OK\r\n\r\n", b"busy 1\n" * 10_000) as port:
        assert attend.is_idle(port, "/metrics", ["busy"]) == (True, "more than 8 MiB do not tell what is in flight")


def test_a_service_is_ready_whose_answer_goes_on() -> None:
    with endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x") as port:
        assert attend.is_ready(port, "/", ["200"]) == (True, "HTTP 200")

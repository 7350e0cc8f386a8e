"""With the compiled llama.cpp and the small ternary model: real tokens, a real server, a real stall."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from bitnet import BitNetRuntime, ModelUnusable, RuntimeSupervisor
from bitnet.answer import answer_in
from bitnet.binaries import CLI, SERVER, find
from bitnet.machine import read_cpu
from bitnet.model import Serving, memory_needed, read_model
from bitnet.telemetry import Event, Telemetry
from bitnet.watchdog import Ended, Patience, RestartPolicy, Watchdog, WatchOptions, take_sample
from tests.bitnet.runtime.gguf_files import with_type_id
from tests.bitnet.runtime.test_cli import get, wait_until, watching
from tests.bitnet.runtime.test_watchdog import until

pytestmark = pytest.mark.native


def test_a_real_completion_comes_out_of_run_inference(native_build: Path, demo_model: Path) -> None:
    pieces: list[bytes] = []
    result = BitNetRuntime(native_build).run_inference(
        demo_model, "ping", n_predict=16, extra_args=["--seed", "7"], on_output=lambda _, data: pieces.append(data)
    )

    assert answer_in(result.stdout, "ping").strip()
    assert b"".join(pieces).decode(errors="replace") == result.stdout
    again = BitNetRuntime(native_build).run_inference(
        demo_model, "ping", n_predict=16, extra_args=["--seed", "7"], on_output=lambda *_: None
    )
    assert answer_in(again.stdout, "ping") == answer_in(result.stdout, "ping"), "the same seed answers the same"


async def test_a_supervisor_runs_it_too(native_build: Path, demo_model: Path) -> None:
    runtime = BitNetRuntime(native_build)
    async with RuntimeSupervisor(runtime, concurrency=runtime.cpu_count) as supervisor:
        result = await supervisor.run_inference(model=demo_model, prompt="ping", n_predict=4, threads=1, timeout=60)

    assert result.returncode == 0
    assert answer_in(result.stdout, "ping")


def test_the_builds_are_understood_from_themselves(native_build: Path) -> None:
    for program in (CLI, SERVER):
        binary = find(native_build, program)[0]
        assert (binary.bitnet_cpp, binary.reads_type("TQ2_0"), binary.reads_type("I2_S")) == (False, True, False)
        assert binary.reads_architecture("bitnet")
        assert not binary.reads_architecture("bitnet-b1.58")
        assert binary.has_option("--metrics")
        assert "unknown" not in binary.version()
        assert binary.source.startswith("llama.cpp")
        assert binary.features <= read_cpu().features, "it was built here"


def test_a_model_of_bitnet_cpp_is_refused_instead_of_aborting(
    native_build: Path, demo_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "i2_s.gguf"
    model.write_bytes(demo_model.read_bytes())
    with_type_id(model, "blk.0.ffn_up.weight", 36)
    with pytest.raises(ModelUnusable) as caught:
        BitNetRuntime(native_build).run_inference(model, "ping")
    assert "cannot read tensors of type I2_S" in caught.value.why

    words = ["--model", str(model), "--prompt", "ping", "--single-turn"]
    real = subprocess.run([native_build / "bin/llama-cli", *words], capture_output=True, stdin=subprocess.DEVNULL)
    assert real.returncode != 0, "and indeed it cannot"


def test_diagnostics_know_the_real_version(native_build: Path, demo_model: Path) -> None:
    report = BitNetRuntime(native_build).diagnostics(demo_model).as_dict()

    build = report["programs"]["llama-server"]["builds"][0]  # type: ignore[index]
    assert "build" in build["version"]
    assert report["model"]["architecture"] == "bitnet"  # type: ignore[index]


def test_serve_becomes_a_server_that_answers(native_build: Path, demo_model: Path, free_port: int) -> None:
    words = ["serve", "--build-dir", str(native_build), "-m", str(demo_model), "--port", str(free_port)]
    server = subprocess.Popen([sys.executable, "-m", "bitnet", *words], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{free_port}"
    try:
        wait_until(lambda: '"ok"' in get(f"{url}/health"))
        answer = httpx.post(f"{url}/completion", json={"prompt": "ping", "n_predict": 8}, timeout=30).json()
        used = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert b"llama-server" in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    finally:
        server.terminate()
        server.wait(20)

    assert answer["tokens_predicted"] == 8
    assert used < memory_needed(read_model(demo_model), Serving(2048)) * 1.5, "the estimate is of the right size"


async def test_a_stopped_server_is_cured_by_the_watchdog(native_build: Path, demo_model: Path, free_port: int) -> None:
    runtime = BitNetRuntime(native_build)
    command = runtime.run_server(demo_model, port=free_port, dry_run=True, n_predict=4, ctx_size=512)
    events: list[Event] = []
    options = WatchOptions(
        command=command,
        url=f"http://127.0.0.1:{free_port}",
        interval=0.1,
        poll_timeout=0.5,
        patience=Patience(load=60, silence=1, stall=30),
        restarts=RestartPolicy(first=0.05),
    )
    dog = Watchdog(options, os.environ, Telemetry([events.append]), on_output=lambda *_: None)
    watching = asyncio.ensure_future(dog.run())
    try:
        await until(lambda: dog.state.health()[0], 60)
        first = dog.state.pid
        os.kill(first, signal.SIGSTOP)
        await until(lambda: dog.state.pid not in (0, first) and dog.state.health() == (True, "serving"), 60)
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{options.url}/completion", json={"prompt": "ping"})
        assert answer.json()["tokens_predicted"] == 4
    finally:
        dog.stop()
        ended = await asyncio.wait_for(watching, 30)

    assert ended is Ended.STOPPED
    assert [event.fields["reason"] for event in events if event.name == "watch.ended"] == ["silent", "stopped"]


def test_a_server_that_freezes_at_work_is_cured_and_after_the_limit_given_up(
    native_build: Path, demo_model: Path, free_port: int, tmp_path: Path
) -> None:
    """The command line as an operator runs it: SIGSTOP with a request in flight, twice, one restart allowed."""
    log = tmp_path / "watch.jsonl"
    url, own = f"http://127.0.0.1:{free_port}", "127.0.0.1:0"

    def told(name: str) -> list[dict[str, object]]:
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [event for event in events if event["event"] == name]

    def serving(life: int) -> bool:
        return len(told("watch.started")) == life and '"ok"' in get(f"{url}/health")

    words = [
        "--max-restarts",
        "1",
        "--silence-timeout",
        "2",
        "--grace",
        "1",
        "--listen",
        own,
        "--telemetry-out",
        str(log),
    ]
    with (
        watching(native_build, demo_model, free_port, "--threads", "1", *words) as watch,
        ThreadPoolExecutor() as callers,
    ):
        for life in (1, 2):
            wait_until(partial(serving, life), 60)
            body = {"prompt": "ping", "n_predict": 4}
            assert httpx.post(f"{url}/completion", json=body, timeout=60).json()["tokens_predicted"] == 4
            callers.submit(httpx.post, f"{url}/completion", json={**body, "n_predict": 1900, "ignore_eos": True})
            wait_until(lambda: "llamacpp:requests_processing 1" in get(f"{url}/metrics"), 60)
            os.kill(int(str(told("watch.started")[-1]["pid"])), signal.SIGSTOP)
        watch.communicate(timeout=60)

    assert watch.returncode == 1
    assert [event["reason"] for event in told("watch.ended")] == ["silent", "silent"]
    assert [event["reason"] for event in told("watch.gave_up")] == ["silent"]
    assert "refused" in get(f"{url}/health"), "nothing is left on the port"


async def test_a_long_generation_is_seen_to_move_and_is_drained(
    native_build: Path, demo_model: Path, free_port: int
) -> None:
    """tokens_predicted_total stands still during a request; a watchdog that trusted it would end this one."""
    runtime = BitNetRuntime(native_build)
    asked = {"threads": 1, "parallel": 1, "extra_args": ["--ignore-eos"]}
    command = runtime.run_server(demo_model, port=free_port, dry_run=True, **asked)  # type: ignore[call-overload]
    options = WatchOptions(command=command, url=f"http://127.0.0.1:{free_port}", interval=0.05, drain=120)
    events: list[Event] = []
    dog = Watchdog(options, os.environ, Telemetry([events.append]), on_output=lambda *_: None)
    watching = asyncio.ensure_future(dog.run())
    try:
        await until(lambda: dog.state.health()[0], 60)
        async with httpx.AsyncClient(timeout=120) as client:
            body = {"prompt": "ping", "n_predict": 1500}
            answer = asyncio.ensure_future(client.post(f"{options.url}/completion", json=body))
            seen = [await asyncio.to_thread(take_sample, options.url, 30.0)] * 2
            # Two looks may come before one token has.
            while not seen[0].in_flight or (seen[1].in_flight and seen[1].progress == seen[0].progress):
                sample = await asyncio.to_thread(take_sample, options.url, 30.0)
                seen = [seen[0] if seen[0].in_flight else sample, sample]
            dog.stop()
            predicted = (await answer).json()["tokens_predicted"]
    finally:
        dog.stop()
        await asyncio.wait_for(watching, 60)

    (steps, tokens, _), (later_steps, later_tokens, _) = (sample.progress or () for sample in seen)
    assert (later_steps > steps, later_tokens - tokens) == (True, 0)
    assert predicted == 1500, "it was drained, not dropped"
    assert [event.fields["reason"] for event in events if event.name == "watch.ended"] == ["stopped"]


def test_the_command_line_gives_the_answer_as_json(native_build: Path, demo_model: Path) -> None:
    words = ["run", "--build-dir", str(native_build), "-m", str(demo_model), "-p", "ping", "-n", "8", "--json"]
    done = subprocess.run([sys.executable, "-m", "bitnet", *words], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["answer"]

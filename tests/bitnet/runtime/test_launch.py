"""Launches end with their caller, are tried again where that may help, and are counted and told."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bitnet import (
    BitNetRuntime,
    BreakerPolicy,
    CircuitOpen,
    Event,
    InvalidInput,
    LaunchFailed,
    Retries,
    RuntimeTimeoutError,
)
from bitnet.launch import shown
from bitnet.logs import json_log_sink
from tests.bitnet.runtime.builds import build

FLAKY = """
echo x >> "$FLAKY"
if [ "$(wc -l < "$FLAKY")" -lt 3 ]; then echo "attempt failed" >&2; exit 7; fi
echo done
"""


class Recorder:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def told() -> Recorder:
    return Recorder()


def quiet(_stream: int, _data: bytes) -> None:
    pass


def runtime(tmp_path: Path, script: str, **options: Any) -> BitNetRuntime:
    return BitNetRuntime(build(tmp_path / "build", script=script), **options)


def test_an_answer_comes_back_with_status_output_and_times(tmp_path: Path, model: Path, told: Recorder) -> None:
    result = runtime(tmp_path, "echo out; echo err >&2", sinks=[told]).run_inference(model, "ping", on_output=quiet)

    assert (result.returncode, result.stdout, result.stderr) == (0, "out\n", "err\n")
    assert result.completed_at >= result.started_at
    assert told.names() == ["launch.started", "launch.finished"]
    assert told.events[1].fields["outcome"] == "ok"


def test_output_is_streamed_while_the_program_runs(tmp_path: Path, model: Path) -> None:
    seen: list[tuple[int, bytes, float]] = []
    script = "printf a; sleep 0.6; printf b >&2"
    runtime(tmp_path, script).run_inference(
        model, "ping", on_output=lambda stream, data: seen.append((stream, data, time.monotonic()))
    )

    assert [(stream, data) for stream, data, _ in seen] == [(1, b"a"), (2, b"b")]
    assert seen[1][2] - seen[0][2] > 0.2


def test_without_a_receiver_output_goes_to_our_own_streams(tmp_path: Path, model: Path, capfdbinary: Any) -> None:
    runtime(tmp_path, "printf 'a\\377'; printf e >&2").run_inference(model, "ping")

    assert capfdbinary.readouterr() == (b"a\xff", b"e")


def test_streams_that_take_only_text_get_text(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = io.StringIO()
    monkeypatch.setattr(sys, "stdout", notebook)
    runtime(tmp_path, "printf 'a\\377'").run_inference(model, "ping")

    assert notebook.getvalue() == "a\ufffd"


def test_the_program_gets_our_environment_and_the_runtimes_own(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    started = runtime(tmp_path, 'echo "$OURS$EXTRA"', environment={"EXTRA": "2"})

    assert started.run_inference(model, "ping", on_output=quiet).stdout == "12\n"
    assert started.environment == {"EXTRA": "2"}


def test_a_failure_carries_status_output_and_the_last_lines(tmp_path: Path, model: Path, told: Recorder) -> None:
    script = "echo so far; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3"
    with pytest.raises(LaunchFailed, match="ended with status 3") as caught:
        runtime(tmp_path, script, sinks=[told]).run_inference(model, "ping", on_output=quiet)

    assert (caught.value.returncode, caught.value.stdout) == (3, "so far\n")
    assert caught.value.why.splitlines()[1:] == [f"line {number}" for number in range(3, 8)]
    assert told.events[-1].fields["outcome"] == "failed"


def test_a_program_that_a_signal_killed_is_said_to_be_so(tmp_path: Path, model: Path) -> None:
    with pytest.raises(LaunchFailed, match="was killed by SIGSEGV") as caught:
        runtime(tmp_path, "kill -SEGV $$").run_inference(model, "ping", on_output=quiet)
    assert caught.value.why == "it said nothing on stderr"


def test_a_failed_launch_is_tried_again_with_growing_waits(tmp_path: Path, model: Path, told: Recorder) -> None:
    retries = Retries(attempts=3, first=0.01, longest=0.05)
    environment = {"FLAKY": str(tmp_path / "count")}
    started = runtime(tmp_path, FLAKY, retries=retries, sinks=[told], environment=environment)

    assert started.run_inference(model, "ping", on_output=quiet).stdout == "done\n"
    assert told.names().count("launch.retried") == 2
    assert all(0 <= event.fields["wait"] <= 0.05 for event in told.events if event.name == "launch.retried")  # type: ignore[operator]
    assert 'bitnet_runtime_retries_total{program="llama-cli"} 2.0' in started.prometheus_metrics()


def test_when_all_attempts_fail_the_last_failure_is_raised(tmp_path: Path, model: Path) -> None:
    environment = {"FLAKY": str(tmp_path / "count")}
    started = runtime(tmp_path, FLAKY, retries=Retries(attempts=2, first=0), environment=environment)
    with pytest.raises(LaunchFailed, match="status 7"):
        started.run_inference(model, "ping", on_output=quiet)

    assert (tmp_path / "count").read_text() == "x\nx\n"


@pytest.mark.parametrize("values", [{"attempts": 0}, {"first": -1}, {"longest": -1}])
def test_retries_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Retries(**values)


def test_a_program_that_keeps_failing_is_left_alone_for_a_while(tmp_path: Path, model: Path, told: Recorder) -> None:
    started = runtime(tmp_path, "exit 1", breaker=BreakerPolicy(failures=2, cool_down=1.0), sinks=[told])
    for _ in range(2):
        with pytest.raises(LaunchFailed):
            started.run_inference(model, "ping", on_output=quiet)
    with pytest.raises(CircuitOpen):
        started.run_inference(model, "ping", on_output=quiet)
    assert 'bitnet_runtime_breaker_open{program="llama-cli"} 1.0' in started.prometheus_metrics()
    assert told.names().count("breaker.opened") == 1

    time.sleep(1.05)
    build(tmp_path / "build", script="echo well again")
    assert started.run_inference(model, "ping", on_output=quiet).stdout == "well again\n"
    assert 'bitnet_runtime_breaker_open{program="llama-cli"} 0.0' in started.prometheus_metrics()


def test_ctrl_c_in_its_one_attempt_says_nothing_about_a_program(tmp_path: Path, model: Path) -> None:
    def interrupted(_stream: int, _data: bytes) -> None:
        raise KeyboardInterrupt

    started = runtime(tmp_path, "exit 1", breaker=BreakerPolicy(failures=1, cool_down=0.01))
    with pytest.raises(LaunchFailed):
        started.run_inference(model, "ping", on_output=quiet)
    time.sleep(0.02)
    build(tmp_path / "build", script="echo out; exec sleep 30")
    with pytest.raises(KeyboardInterrupt):
        started.run_inference(model, "ping", on_output=interrupted)
    build(tmp_path / "build", script="echo well again")

    assert started.run_inference(model, "ping", on_output=quiet).stdout == "well again\n"
    assert 'launches_total{outcome="interrupted",program="llama-cli"} 1.0' in started.prometheus_metrics()


def test_a_deadline_ends_the_whole_group_and_keeps_the_output(tmp_path: Path, model: Path, told: Recorder) -> None:
    script = f"echo begun; sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(RuntimeTimeoutError) as caught:
        runtime(tmp_path, script, sinks=[told]).run_inference(model, "ping", timeout=1.5, on_output=quiet)

    assert (caught.value.stdout, caught.value.timeout) == ("begun\n", 1.5)
    assert told.events[-1].fields["outcome"] == "timeout"
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_inside_an_event_loop_it_refuses_to_block(tmp_path: Path, model: Path) -> None:
    async def call() -> None:
        runtime(tmp_path, "true").run_inference(model, "ping")

    with pytest.raises(InvalidInput, match="would block the running event loop"):
        asyncio.run(call())


def test_another_thread_may_launch_too(tmp_path: Path, model: Path) -> None:
    results: list[str] = []
    started = runtime(tmp_path, "echo fine")
    thread = threading.Thread(
        target=lambda: results.append(started.run_inference(model, "ping", on_output=quiet).stdout)
    )
    thread.start()
    thread.join(10)

    assert results == ["fine\n"]


LAUNCH = """
import sys
from bitnet import BitNetRuntime
BitNetRuntime(sys.argv[1]).run_server(sys.argv[2], port=int(sys.argv[3]))
print("returned")
"""


@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGTERM, "returned"), (signal.SIGINT, "KeyboardInterrupt")])
def test_a_signal_to_the_caller_ends_the_server(
    tmp_path: Path, model: Path, free_port: int, number: signal.Signals, outcome: str
) -> None:
    built = build(tmp_path / "build", script=f"echo $$ > {tmp_path}/pid; exec sleep 60")
    caller = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(built), str(model), str(free_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    pid = _wait_for_pid(tmp_path / "pid")
    caller.send_signal(number)
    output, _ = caller.communicate(timeout=20)

    assert outcome in output
    assert not _alive(pid)


def test_a_chat_is_attached_to_this_terminal(tmp_path: Path, model: Path) -> None:
    code = (
        "import sys; from bitnet import BitNetRuntime\n"
        "done = BitNetRuntime(sys.argv[1]).run_inference(sys.argv[2], conversation=True)\n"
        "print(done.returncode, repr(done.stdout))"
    )
    built = build(tmp_path / "build", script='read line; echo "you said $line"')
    done = subprocess.run(
        [sys.executable, "-c", code, str(built), str(model)],
        input="hello\n",
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "you said hello\n0 ''\n"


def test_ctrl_c_in_a_chat_is_the_programs_to_understand(tmp_path: Path, model: Path) -> None:
    code = (
        "import sys; from bitnet import BitNetRuntime\n"
        "BitNetRuntime(sys.argv[1]).run_inference(sys.argv[2], conversation=True)\nprint('on we go')"
    )
    script = f"trap 'echo caught; exit 0' INT; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    built = build(tmp_path / "build", script=script)
    caller = subprocess.Popen(
        [sys.executable, "-c", code, str(built), str(model)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    _wait_for_pid(tmp_path / "pid")
    time.sleep(0.2)
    os.killpg(caller.pid, signal.SIGINT)

    assert caller.communicate(timeout=20)[0] == "caught\non we go\n"


def test_a_chat_whose_program_cannot_start_is_a_failure(tmp_path: Path, model: Path) -> None:
    started = runtime(tmp_path, "true")
    program = tmp_path / "build/bin/llama-cli"
    program.write_bytes(b"#!/no/such/shell\n")
    with pytest.raises(LaunchFailed, match="could not be started"):
        started.run_inference(model, conversation=True)


def test_a_server_may_take_our_place(tmp_path: Path, model: Path, free_port: int) -> None:
    code = (
        "import os, sys; from bitnet import BitNetRuntime, JsonLinesSink\n"
        "runtime = BitNetRuntime(sys.argv[1], sinks=[JsonLinesSink(sys.argv[4])], environment={'MARK': 'm'})\n"
        "print(os.getpid(), flush=True)\n"
        "runtime.run_server(sys.argv[2], port=int(sys.argv[3]), replace=True, extra_args=['--api-key', 's3cret'])"
    )
    built = build(tmp_path / "build", script='echo "$$ $MARK"; exit 9')
    log = tmp_path / "events.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code, str(built), str(model), str(free_port), str(log)], capture_output=True, text=True
    )
    before, after = done.stdout.splitlines()

    assert (done.returncode, after) == (9, f"{before} m"), "same process, its own status"
    event = json.loads(log.read_text())
    assert event["event"] == "launch.replaced"
    assert "s3cret" not in log.read_text()


def test_secrets_and_prompts_among_the_arguments_are_not_logged() -> None:
    assert shown(["x", "--api-key", "k", "--port", "1"]) == ["x", "--api-key", "***", "--port", "1"]
    assert shown(["x", "--prompt", "my diagnosis"]) == ["x", "--prompt", "***"]


def test_refusals_are_told_and_counted(tmp_path: Path, model: Path, told: Recorder) -> None:
    started = runtime(tmp_path, "true", sinks=[told])
    with pytest.raises(InvalidInput):
        started.run_inference(model, "")

    assert told.events[0].name == "launch.refused"
    assert told.events[0].fields["error"] == "InvalidInput"
    assert 'bitnet_runtime_refusals_total{error="InvalidInput",program="llama-cli"} 1.0' in started.prometheus_metrics()


def test_json_logs_are_lines_with_level_time_and_facts(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usable = BitNetRuntime("x").cpu_count
    runtime(tmp_path, "true", json_logs=True).run_inference(model, "ping", threads=usable + 1, on_output=quiet)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [(line["event"], line["level"]) for line in lines] == [
        ("launch.warning", "warning"),
        ("launch.started", "info"),
        ("launch.finished", "info"),
    ]
    assert lines[2]["program"] == "llama-cli"
    assert lines[2]["timestamp"].endswith("Z")


def test_a_failed_launch_is_logged_as_a_warning() -> None:
    stream = io.StringIO()
    json_log_sink(stream)(Event("launch.finished", {"outcome": "timeout", "path": Path("/x")}))

    assert json.loads(stream.getvalue())["level"] == "warning"
    assert json.loads(stream.getvalue())["path"] == "/x"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{path} was never written")

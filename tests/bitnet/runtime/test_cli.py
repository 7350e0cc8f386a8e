"""The command line, run as a program."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bitnet import binaries, cli, report
from tests.bitnet.runtime.builds import build, needing
from tests.bitnet.runtime.conftest import CHECKOUT
from tests.cli.ports import free_ports


def bitnet(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitnet", *map(str, words)], capture_output=True, text=True, timeout=60, **options
    )


class TestDryRun:
    def test_it_prints_one_line_that_a_shell_reads_as_the_command(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "it's $HOME", "-t", "1", "--dry-run")

        assert done.returncode == 0
        (line,) = done.stdout.splitlines()
        assert shlex.split(line)[:3] == [f"{build_dir}/bin/llama-cli", "--model", str(model)]
        assert "it's $HOME" in shlex.split(line)
        ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert "--prompt it's $HOME" in ran.stdout

    @pytest.mark.parametrize(
        ("word", "line", "note"),
        [
            ("plain", "plain", ""),
            ("it's", """'it'"'"'s'""", ""),
            ("a b;c", "'a b;c'", ""),
            ("a\\b", r'a"\\"b', ""),
            ("\\ `", r"""''"\\"' `'""", ""),
            ("100%", "100%", "in a unit file, write %% for %"),
            ("$HOME", "'$HOME'", "in a unit file, write $$ for $"),
            ("\\$1 %n", r"""''"\\"'$1 %n'""", "in a unit file, write %% for % and $$ for $"),
        ],
    )
    def test_each_word_reads_the_same_to_a_shell_and_to_systemd_or_it_says_what_to_write(
        self, word: str, line: str, note: str
    ) -> None:
        assert (report.command_line([word]), report.unit_file_note([word])) == (line, note)
        assert subprocess.run(["sh", "-c", f"printf %s {line}"], capture_output=True, text=True).stdout == word

    def test_what_a_unit_file_needs_besides_is_said_on_stderr(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "$5, 100%", "--dry-run")

        assert "'$5, 100%'" in done.stdout
        assert done.stderr == "bitnet: in a unit file, write %% for % and $$ for $\n"

    def test_a_diagnosis_is_printed_as_its_own_command_and_nothing_runs(self, tmp_path: Path, model: Path) -> None:
        built = build(tmp_path / "b", script=f"touch {tmp_path}/ran")
        dry = bitnet("diagnose", "--build-dir", "b", "-m", model.name, "--dry-run", cwd=tmp_path)

        words = shlex.split(dry.stdout)
        assert words[1:] == [
            "-m",
            "bitnet",
            "diagnose",
            "--build-dir",
            str(built),
            "--model",
            str(model),
            "--ctx-size",
            "2048",
            "--engine",
            "build",
        ]
        assert not (tmp_path / "ran").exists()
        ran = subprocess.run([*words, "--json"], capture_output=True, text=True, cwd="/")
        assert json.loads(ran.stdout)["model"]["name"] == "tiny"

    @pytest.mark.parametrize("verb", ["serve", "watch"])
    def test_a_server_is_printed_likewise(self, build_dir: Path, model: Path, verb: str) -> None:
        words = ("--host", "0.0.0.0", "--port", "9", "--batch-size", "512", "--threads", "auto", "--dry-run")
        done = bitnet(verb, "--build-dir", build_dir, "-m", model, *words)

        assert "--batch-size 512 --host 0.0.0.0 --port 9 --metrics" in done.stdout

    def test_with_diagnostics_the_report_goes_to_stderr(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "x", "--dry-run", "--diagnostics")

        assert len(done.stdout.splitlines()) == 1
        assert f"llama-cli: runs {build_dir}/bin/llama-cli: the only build" in done.stderr
        assert "memory: ok" in done.stderr

    def test_as_json_it_is_one_object_with_the_report(self, build_dir: Path, model: Path) -> None:
        done = bitnet(
            "run", "--build-dir", build_dir, "-m", model, "-p", "a\nb", "--dry-run", "--json", "--diagnostics"
        )
        answer = json.loads(done.stdout)

        assert "a\nb" in answer["command"]
        assert shlex.split(answer["line"]) == answer["command"]
        assert answer["diagnostics"]["model"]["name"] == "tiny"

    def test_extra_arguments_go_to_the_program_as_they_are(self, build_dir: Path, model: Path) -> None:
        done = bitnet(
            "serve", "--build-dir", build_dir, "-m", model, "--dry-run", "--extra-args", "--slots", "--port", "3"
        )

        assert done.stdout.endswith("--metrics --slots --port 3\n")

    def test_a_line_break_needs_json(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "a\nb", "--dry-run")

        assert done.returncode == cli.USAGE
        assert "use --json" in done.stderr


@pytest.mark.parametrize("script", ["run_inference.py", "run_inference_server.py"])
def test_the_scripts_that_existing_callers_use_run_from_any_folder(tmp_path: Path, model: Path, script: str) -> None:
    prompt = ["--prompt", "ping"] if script == "run_inference.py" else ["--host", "127.0.0.1", "--port", "9"]
    home = tmp_path / "checkout"
    home.mkdir()
    (home / script).write_bytes((CHECKOUT / script).read_bytes())
    (home / "bitnet").symlink_to(CHECKOUT / "bitnet")
    build(home / "build")
    words = ["--model", str(model), *prompt, "--threads", "auto", "--batch-size", "8", "--dry-run", "--diagnostics"]
    done = subprocess.run(
        [sys.executable, str(home / script), *words], capture_output=True, text=True, cwd="/", check=False
    )

    assert done.returncode == 0, done.stderr
    program = "llama-cli" if script == "run_inference.py" else "llama-server"
    assert done.stdout.startswith(f"{home}/build/bin/{program} --model {model}")
    assert "model: path" in done.stderr


@pytest.mark.parametrize("script", ["run_inference.py", "run_inference_server.py"])
def test_a_python_that_lacks_what_the_scripts_need_is_told_what_to_install(script: str) -> None:
    without_packages = [sys.executable, "-S", str(CHECKOUT / script)]
    done = subprocess.run([*without_packages, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "is not installed for" in done.stderr
    assert f"-m pip install {CHECKOUT}" in done.stderr
    assert "Traceback" not in done.stderr


class TestRun:
    def test_the_answer_is_on_stdout_and_the_status_is_the_programs(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "ping")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("args: --model")

    @pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -KILL $$", 137)])
    def test_a_failure_is_the_programs_status(self, tmp_path: Path, model: Path, script: str, status: int) -> None:
        built = build(tmp_path / "b", script=script)
        done = bitnet("run", "--build-dir", built, "-m", model, "-p", "ping")

        assert done.returncode == status
        assert "next: run the command of --dry-run by hand" in done.stderr

    def test_a_deadline_is_124(self, tmp_path: Path, model: Path) -> None:
        built = build(tmp_path / "b", script="echo so far; exec sleep 30")
        done = bitnet("run", "--build-dir", built, "-m", model, "-p", "ping", "--timeout", "0.5", "--json")

        assert done.returncode == cli.TIMED_OUT
        assert json.loads(done.stdout)["stdout"] == "so far\n"
        assert json.loads(done.stdout)["error"] == "RuntimeTimeoutError"

    def test_as_json_answer_and_facts_are_one_object(self, tmp_path: Path, model: Path) -> None:
        script = "printf '\\nbanner\\n\\n> ping\\nthe answer\\n\\n\\nExiting...\\n'"
        done = bitnet("run", "--build-dir", build(tmp_path / "b", script=script), "-m", model, "-p", "ping", "--json")
        answer = json.loads(done.stdout)

        assert (answer["answer"], answer["returncode"]) == ("the answer", 0)
        assert answer["stdout"].startswith("\nbanner")
        assert answer["duration"] > 0

    def test_telemetry_goes_to_a_file(self, build_dir: Path, model: Path, tmp_path: Path) -> None:
        bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "x", "--telemetry-out", tmp_path / "t.jsonl")
        events = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]

        assert [event["event"] for event in events if event["event"] != "launch.warning"] == [
            "launch.started",
            "launch.finished",
        ]

    def test_a_telemetry_file_that_cannot_be_written_is_said(self, build_dir: Path, model: Path) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, "-p", "x", "--telemetry-out", "/proc/no/such")

        assert done.returncode == cli.USAGE
        assert "/proc/no/such: cannot be written" in done.stderr

    def test_retries_are_counted_on_top_of_the_first_launch(self, tmp_path: Path, model: Path) -> None:
        built = build(tmp_path / "b", script=f"echo x >> {tmp_path}/count; exit 1")
        bitnet("run", "--build-dir", built, "-m", model, "-p", "x", "--retries", "1")

        assert (tmp_path / "count").read_text() == "x\nx\n"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["-p", ""], "the prompt is empty"),
            (["-p", "x", "--ctx-size", "-5"], "ctx_size=-5 is out of range"),
            (["-p", "x", "--threads", "many"], "'many' is neither a number nor auto"),
            (["-p", "x", "--no-such"], "unrecognized arguments: --no-such"),
        ],
    )
    def test_what_cannot_work_is_status_2_and_no_traceback(
        self, build_dir: Path, model: Path, words: list[str], said: str
    ) -> None:
        done = bitnet("run", "--build-dir", build_dir, "-m", model, *words)

        assert done.returncode == cli.USAGE
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    def test_ctrl_c_is_130_and_ends_the_program(self, tmp_path: Path, model: Path) -> None:
        built = build(tmp_path / "b", script=f"echo $$ > {tmp_path}/pid; exec sleep 60")
        words = ["run", "--build-dir", str(built), "-m", str(model), "-p", "x"]
        caller = subprocess.Popen([sys.executable, "-m", "bitnet", *words], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        caller.send_signal(signal.SIGINT)

        assert "Traceback" not in caller.communicate(timeout=20)[1]
        assert caller.returncode == cli.INTERRUPTED
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_serve_becomes_the_server(tmp_path: Path, model: Path, free_port: int) -> None:
    built = build(tmp_path / "b", script='echo "$$ $*"; exit 4')
    words = ["serve", "--build-dir", str(built), "-m", str(model), "--port", str(free_port)]
    served = subprocess.Popen([sys.executable, "-m", "bitnet", *words], stdout=subprocess.PIPE, text=True)
    output, _ = served.communicate(timeout=30)

    assert output.startswith(f"{served.pid} --model")
    assert served.returncode == 4


class TestDiagnose:
    def test_people_get_lines(self, build_dir: Path, model: Path) -> None:
        done = bitnet("diagnose", "--build-dir", build_dir, "-m", model)

        assert done.returncode == (1 if "problem:" in done.stdout else 0)
        assert f"llama-server: {build_dir}/bin/llama-server (default, 7 (abc))" in done.stdout

    def test_of_the_wheel_it_shows_the_server_that_would_run_and_misses_no_build(
        self, tmp_path: Path, model: Path
    ) -> None:
        done = bitnet("diagnose", "--build-dir", tmp_path, "--json", "--engine", "wheel")
        programs = json.loads(done.stdout)["programs"]
        assert list(programs) == ["llama-server"]
        assert programs["llama-server"]["chosen"]["path"] == str(binaries.wheel().path)
        assert "deploy native build" not in done.stdout

        words = ("--build-dir", tmp_path, "-m", model, "--engine", "wheel", "--diagnostics", "--dry-run")
        told = bitnet("serve", *words).stderr
        assert f"llama-server: runs {binaries.wheel().path}" in told
        assert "deploy native build" not in told

    def test_programs_get_json_and_a_telemetry_event(self, tmp_path: Path) -> None:
        done = bitnet("diagnose", "--build-dir", tmp_path, "--json", "--telemetry-out", tmp_path / "t.jsonl")

        assert done.returncode == cli.FAILED
        assert json.loads(done.stdout)["healthy"] is False
        assert json.loads((tmp_path / "t.jsonl").read_text())["event"] == "diagnostics"

    def test_what_was_not_chosen_is_explained(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        build(tmp_path, **needing("no-such-feature"))
        build(tmp_path / "portable")
        cli.main(["diagnose", "--build-dir", str(tmp_path)])

        assert f"llama-cli: not {tmp_path}/bin/llama-cli: needs no-such-feature" in capsys.readouterr().out


SERVER = CHECKOUT / "tests/bitnet/runtime/fake_server.py"


@contextmanager
def watching(built: Path, model: Path, port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bitnet", "watch", "--build-dir", str(built), "-m", str(model)]
    command += ["--port", str(port), "--interval", "0.1", "--poll-timeout", "0.5", "--backoff", "0.05", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return str(error)


class TestWatch:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Path:
        return build(tmp_path / "b", script=f'exec {shlex.quote(sys.executable)} {SERVER} "$@"')

    def test_it_starts_serves_health_and_metrics_and_stops_on_sigterm(
        self, served: Path, model: Path, free_port: int
    ) -> None:
        own = f"127.0.0.1:{free_ports(1)[0]}"
        with watching(served, model, free_port, "--listen", own, "--json") as watch:
            wait_until(lambda: get(f"http://{own}/healthz") == "serving\n")
            assert "bitnet_watchdog_up 1.0" in get(f"http://{own}/metrics")
            watch.send_signal(signal.SIGTERM)
            _, told = watch.communicate(timeout=20)

        assert watch.returncode == 0
        events = [json.loads(line)["event"] for line in told.splitlines() if line.startswith("{")]
        assert events[0] == "watch.started"
        assert events[-1] == "watch.stopped"

    def test_it_gives_up_with_status_1(self, tmp_path: Path, model: Path, free_port: int) -> None:
        dying = build(tmp_path / "b", script="echo no such luck >&2; exit 3")
        with watching(dying, model, free_port, "--max-restarts", "2", "--listen", "off") as watch:
            _, told = watch.communicate(timeout=30)

        assert watch.returncode == 1
        assert "bitnet: watch.gave_up reason=exited restarts=2" in told
        assert "no such luck" in told

    def test_a_taken_port_is_refused_before_anything_starts(self, served: Path, model: Path, free_port: int) -> None:
        import socket

        with socket.create_server(("127.0.0.1", free_port)), watching(served, model, free_port) as watch:
            _, told = watch.communicate(timeout=30)
        assert watch.returncode == cli.FAILED
        assert f"port {free_port} on 127.0.0.1 is taken" in told

    @pytest.mark.parametrize("address", ["nonsense", "1.2.3.4:", "h:70000"])
    def test_an_address_that_is_none_is_refused(self, served: Path, model: Path, free_port: int, address: str) -> None:
        with watching(served, model, free_port, "--listen", address) as watch:
            _, told = watch.communicate(timeout=30)
        assert watch.returncode == cli.USAGE
        assert "is not HOST:PORT" in told

    def test_a_killed_watchdog_takes_the_server_with_it(self, served: Path, model: Path, free_port: int) -> None:
        with watching(served, model, free_port, "--listen", "off") as watch:
            wait_until(lambda: get(f"http://127.0.0.1:{free_port}/health") == "ok")
            os.kill(watch.pid, signal.SIGKILL)
            wait_until(lambda: "refused" in get(f"http://127.0.0.1:{free_port}/health"))


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in ("run", "serve", "diagnose", "watch"))])
def test_help_shows_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)

    assert caught.value.code == 0
    assert "bitnet" in capsys.readouterr().out

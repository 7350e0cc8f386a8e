"""The program on the wheel does for services, checks, draining and supervisors what a compiled llama-server does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bitnet import llama_server
from provision.project.presets import presets
from tests.engines.conftest import PROGRAM, Starts, ended

ROOT = Path(__file__).parents[2]


def run(*options: str, **more: object) -> subprocess.CompletedProcess[str]:
    """The program, until it ends by itself."""
    return subprocess.run(
        [sys.executable, PROGRAM, *options], capture_output=True, text=True, timeout=60, check=False, **more
    )


def refusal(*options: str, **more: object) -> str:
    """What it says instead of serving; it has to end with status 1, as llama-server does."""
    done = run(*options, **more)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_it_answers_with_tokens_and_counts_them(start: Starts) -> None:
    server = start("--metrics").wait()

    status, body = server.ask("/completion", json.dumps({"prompt": "Hello", "n_predict": 8}).encode())

    assert (status, json.loads(body)["tokens_predicted"]) == (200, 8)
    assert b"llamacpp:tokens_predicted_total 8\n" in server.ask("/metrics")[1]
    for path in ("/v1/models", "/props", "/slots"):
        assert server.ask(path)[0] == 200


def test_it_streams_the_chat_that_clients_of_openai_ask_for(start: Starts) -> None:
    server = start().wait()
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6, "stream": True}

    status, stream = server.ask("/v1/chat/completions", json.dumps(body).encode())

    assert status == 200
    assert stream.count(b"data: ") > 6
    assert stream.strip().endswith(b"data: [DONE]")


def test_it_has_every_metric_that_the_preset_asks_for(start: Starts) -> None:
    """Alerts, graphs and the wait for requests in flight name them."""
    asked = set(re.findall(r"llamacpp:\w+", (ROOT / "provision/project/presets.toml").read_text()))
    server = start("--metrics").wait()
    server.ask("/completion", b'{"prompt": "Hello", "n_predict": 2}')

    told = set(re.findall(r"^llamacpp:\w+", server.ask("/metrics")[1].decode(), re.MULTILINE))

    assert asked - told == set()


def test_it_takes_every_option_that_the_preset_gives() -> None:
    preset = presets()["bitnet-server"]
    words = [
        *preset["command"],
        *preset["draft_args"],
        *preset["mmproj_args"],
        *(word for words in preset["secret_args"].values() for word in words),
    ]

    options = {word for word in words if word.startswith("--")}

    assert options <= {name for option in llama_server.OPTIONS for name in option.names}


def test_the_preset_s_words_for_a_draft_model_have_it_draft(start: Starts, model: Path) -> None:
    """Without `--spec-type` llama-server loads it, and does not use it."""
    words = [word.replace("${draft}", str(model)) for word in presets()["bitnet-server"]["draft_args"]]
    server = start("--metrics", *words).wait()

    answer = json.loads(server.ask("/completion", b'{"prompt": "Hello", "n_predict": 16, "temperature": 0}')[1])

    assert answer["timings"]["draft_n_accepted"] == answer["timings"]["draft_n"] > 0
    assert b"spec_decode_num_drafts_total" in server.ask("/metrics")[1]


@pytest.mark.parametrize("given", ["argument", "file", "environment"])
def test_a_key_is_demanded_however_it_is_given(given: str, start: Starts, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# whose\nkey-one\nkey-two\n")
    options = {"argument": ["--api-key", "key-one,key-two"], "file": ["--api-key-file", str(file)]}.get(given, [])
    server = start(
        "--metrics", *options, environ={"LLAMA_API_KEY": "key-one,key-two"} if given == "environment" else {}
    )
    server.wait()

    asked = b'{"prompt": "Hello", "n_predict": 1}'
    assert [server.ask("/completion", asked, key)[0] for key in ("", "key-six", "key-one", "key-two")] == [
        401,
        401,
        200,
        200,
    ]
    assert server.ask("/metrics")[0] == 401
    assert server.ask("/health")[0] == 200
    assert b"key-" not in server.log.read_bytes()


def test_variables_count_where_no_option_is_given(start: Starts) -> None:
    server = start("--ctx-size", "256", environ={"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_ALIAS": "tiny"}).wait()

    assert json.loads(server.ask("/props")[1])["default_generation_settings"]["n_ctx"] == 256
    assert json.loads(server.ask("/v1/models")[1])["data"][0]["id"] == "tiny"


def test_as_many_requests_as_llama_server_answers_are_answered_at_once(start: Starts) -> None:
    assert json.loads(start().wait().ask("/props")[1])["total_slots"] == 4
    assert json.loads(start("--parallel", "2").wait().ask("/props")[1])["total_slots"] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("patient", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_signal_ends_it_with_status_0_also_in_the_middle_of_an_answer(
    number: signal.Signals, patient: bool, start: Starts
) -> None:
    """llama-server gives a client that stays half a minute."""
    server = start("--ctx-size", "2048").wait()
    body = {"prompt": "Hello", "n_predict": 100_000, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/completion", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as stream:
        assert stream.readline().startswith(b"data: {")
        with ended(server.process):
            server.process.send_signal(number)
            if not patient:
                stream.close()

    assert server.process.returncode == 0


def test_a_signal_while_it_starts_ends_it_at_once(start: Starts) -> None:
    server = start()
    with ended(server.process):
        server.process.terminate()

    assert server.process.returncode == -signal.SIGTERM


def test_a_second_signal_does_not_wait_for_a_client_that_waits(start: Starts) -> None:
    """llama-server lets who waits for a whole answer wait."""
    server = start("--ctx-size", "2048").wait()
    body = json.dumps({"prompt": "Hello", "n_predict": 100_000, "ignore_eos": True}).encode()
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(server.ask, "/completion", body)
        while b'is_processing":true' not in server.ask("/slots")[1]:
            assert not answer.done()
        with ended(server.process):
            for _ in range(200):
                if server.process.poll() is None:
                    server.process.terminate()
                    time.sleep(0.05)

    assert server.process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--modle", "x"], "invalid argument: --modle: did you mean --model? the wheel engine has no such option"),
        (["--flash-attn", "on"], "invalid argument: --flash-attn: the wheel engine has no such option; a compiled"),
        (["-hf", "ggml-org/x"], "invalid argument: -hf: "),
        (["-cb"], "invalid argument: -cb: "),
        (["-mmu", "https://host/vision.gguf"], "invalid argument: -mmu: "),
        (["--port=80"], "invalid argument: --port=80: did you mean --port?"),
        (["stray"], "invalid argument: stray: the wheel engine has no such option"),
        (["--model"], "--model: expected a value"),
        ([], "--model is missing"),
        (["--port", "http"], "--port 'http': invalid literal for int()"),
        (["--port", "83947"], "--port '83947': expected a number from 0 to 65535"),
        (["--parallel", "0"], "--parallel '0': expected -1 or a number from 1"),
        (["-b", "0"], "-b '0': expected a number from 1 to 2147483647"),
        (["-c", "-5"], "-c '-5': expected a number from 0 to 2147483647"),
        (["-c", "99999999999"], "-c '99999999999': expected a number from 0"),
        (["-ngl", "most"], "-ngl 'most': invalid literal for int()"),
        (["--host", "127.0.0.1,"], "--host '127.0.0.1,': expected an address, or several with commas"),
        (["--host", "/run/llama.sock"], "--host '/run/llama.sock': expected an address"),
        (["--api-key", ""], "--api-key: there is no key in it"),
        (["--api-key", ","], "--api-key: there is no key in it"),
        (["--api-key-file", "/nowhere"], "--api-key-file '/nowhere': [Errno 2] No such file or directory"),
        (["--api-key-file", "/dev/null"], "--api-key-file '/dev/null': there is no key in it"),
        (["--api-key-file", "/dev/zero"], "--api-key-file '/dev/zero': it is larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(options: list[str], says: str) -> None:
    assert refusal(*options).startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LLAMA_ARG_PORT", "http", "LLAMA_ARG_PORT 'http': invalid literal for int()"),
        ("LLAMA_ARG_JINJA", "perhaps", "LLAMA_ARG_JINJA 'perhaps': expected on or off"),
        ("LLAMA_ARG_SSL_KEY_FILE", "/key", "invalid variable: LLAMA_ARG_SSL_KEY_FILE: "),
        ("LLAMA_API_KEY", "", "LLAMA_API_KEY: there is no key in it"),
        ("LLAMA_API_KEY", ",", "LLAMA_API_KEY: there is no key in it"),
    ],
)
def test_a_variable_that_it_cannot_follow_is_refused_by_name(variable: str, value: str, says: str) -> None:
    assert refusal("--model", "x", env={variable: value, "PATH": ""}).startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("options", "variables", "values"),
    [
        (["--api-key", "-dash"], {}, {"--api-key": ["-dash"]}),
        (["--api-key", '"a,b",c'], {}, {"--api-key": ["a,b", "c"]}),
        (["--seed", "-1"], {}, {"--seed": -1}),
        (["--port", "1", "--port", "2"], {"LLAMA_ARG_PORT": "3"}, {"--port": 2}),
        ([], {"LLAMA_ARG_PORT": "3", "LLAMA_ARG_HOST": ""}, {"--port": 3}),
        ([], {"LLAMA_ARG_ENDPOINT_METRICS": "Enabled", "LLAMA_ARG_JINJA": "off"}, {"--metrics": True, "--jinja": 0}),
        (["-md", "a", "--spec-type", "none"], {}, {"--model-draft": "a", "--spec-type": 0}),
        (["--host", "127.0.0.1, ::1"], {}, {"--host": ["127.0.0.1", "::1"]}),
    ],
)  # fmt: skip
def test_a_command_line_means_what_it_means_to_llama_server(
    options: list[str], variables: dict[str, str], values: dict[str, object]
) -> None:
    assert llama_server.asked(options, variables).values == values


def test_a_key_file_is_read_as_people_write_one(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes("\ufeffone\r\n# whose\r\n\r\nt\u2028wo".encode())

    assert llama_server.asked(["--api-key-file", str(file)], {}).values == {"--api-key-file": ["one", "t\u2028wo"]}


@pytest.mark.parametrize("options", [["--seed", "-1"], ["-t", "0"], ["-tb", "0"]])
def test_what_llama_server_takes_for_its_own_choice_is_taken(options: list[str], start: Starts) -> None:
    assert start(*options).wait().ask("/completion", b'{"prompt": "Hello", "n_predict": 1}')[0] == 200


def test_a_model_that_is_missing_or_cut_ends_it_with_llama_cpps_own_words(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:2_000_000])

    for path in (cut, tmp_path / "none.gguf"):
        done = run("--model", str(path), "--port", "1")
        assert done.returncode == 1
        assert f"failed to load model, '{path}'" in done.stderr


def test_a_port_that_is_taken_ends_it(start: Starts, model: Path) -> None:
    server = start().wait()

    done = run("--model", str(model), "--port", str(server.port))

    assert done.returncode == 1
    assert "couldn't bind HTTP server socket" in done.stderr


def test_it_says_which_version_it_is() -> None:
    done = run("--version")

    assert done.returncode == 0
    assert re.fullmatch(r"version: 20\d\d\.\d+\.\d+ \(xllamacpp\)\n", done.stderr)


def test_its_help_names_every_option_and_its_variable() -> None:
    told = run("--help").stdout

    for option in llama_server.OPTIONS:
        assert all(name in told for name in option.names)
        assert option.variable in told


def test_a_processor_that_lacks_what_the_kernels_use_is_told_before_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(llama_server, "_cpu_features", lambda: {"avx", "f16c"})
    monkeypatch.setattr("os.uname", lambda: type("uname", (), {"machine": "x86_64"}))

    assert llama_server.main(["--version"]) == 1

    assert capsys.readouterr().err == (
        "error: xllamacpp does not run here: it needs avx2, bmi2, fma, which this processor lacks\n"
    )


def test_an_old_python_is_told_which_one_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(llama_server, "OLDEST_PYTHON", (4, 0))

    assert llama_server.main(["--version"]) == 1

    assert "it needs Python 4.0 or newer, and " in capsys.readouterr().err


def test_the_newest_wheel_that_users_may_install_is_of_the_line_that_is_pinned() -> None:
    """`bitnet serve --engine wheel` takes what the extra `wheel` brings; the toolkit ships the pinned one."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["wheel"]

    assert [word.partition(">")[0] for word in declared] == ["xllamacpp"]

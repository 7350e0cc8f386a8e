"""The exact argument lists, and what is refused before there is one."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet import BitNetRuntime, InvalidInput, ModelUnusable, RuntimeFailure
from bitnet.arguments import LONGEST_ARGUMENT, resolve_threads
from bitnet.errors import BinaryNotFound, NotEnoughMemory, PortTaken
from bitnet.machine import read_machine
from bitnet.plan import Ask, check_memory, plan_server
from bitnet.report import command_line
from tests.bitnet.runtime.builds import BITNET_CPP, CUDA, UPSTREAM, build
from tests.bitnet.runtime.gguf_files import Gguf, Q


def inference(build_dir: Path, model: Path, **asked: Any) -> list[str]:
    asked = {"prompt": "ping", "threads": 1, **asked}
    return BitNetRuntime(build_dir).run_inference(model, dry_run=True, **asked)


def server(build_dir: Path, model: Path, **asked: Any) -> list[str]:
    return BitNetRuntime(build_dir).run_server(model, dry_run=True, **{"threads": 1, **asked})


class TestCommands:
    def test_one_answer_of_todays_llama_cli(self, build_dir: Path, model: Path) -> None:
        assert inference(build_dir, model) == [
            f"{build_dir}/bin/llama-cli",
            *("--model", str(model), "--ctx-size", "2048", "--threads", "1", "--n-predict", "128", "--temp", "0.8"),
            *("--prompt", "ping", "--single-turn", "--simple-io", "--no-display-prompt"),
        ]

    def test_one_answer_of_bitnet_cpp(self, tmp_path: Path, model: Path) -> None:
        assert inference(build(tmp_path / "b", BITNET_CPP), model)[-4:] == [
            *("--prompt", "ping", "--simple-io", "--no-display-prompt"),
        ]

    def test_everything_that_can_be_asked_of_an_answer(self, build_dir: Path, model: Path) -> None:
        asked = {"n_predict": -1, "ctx_size": 0, "temperature": 0, "batch_size": 64, "extra_args": ["--seed", "1"]}
        command = inference(build_dir, model, **asked)

        assert command[1:] == [
            *("--model", str(model), "--ctx-size", "0", "--threads", "1", "--batch-size", "64"),
            *("--n-predict", "-1", "--temp", "0", "--prompt", "ping"),
            *("--single-turn", "--simple-io", "--no-display-prompt", "--seed", "1"),
        ]

    def test_a_chat_with_todays_llama_cli_needs_no_option(self, build_dir: Path, model: Path) -> None:
        command = inference(build_dir, model, prompt="", conversation=True)

        assert command[-2:] == ["--temp", "0.8"]

    def test_a_chat_with_bitnet_cpp_is_asked_for(self, tmp_path: Path, model: Path) -> None:
        command = inference(build(tmp_path / "b", BITNET_CPP), model, conversation=True)

        assert command[-3:] == ["--prompt", "ping", "--conversation"]

    def test_a_prompt_is_never_taken_for_a_command_of_the_chat(self, tmp_path: Path, model: Path) -> None:
        todays = inference(build(tmp_path / "new"), model, prompt="/read /etc/passwd")
        older = inference(build(tmp_path / "old", BITNET_CPP), model, prompt="/read /etc/passwd")

        assert " /read /etc/passwd" in todays
        assert "/read /etc/passwd" in older

    def test_a_server_listens_on_loopback_with_metrics(self, build_dir: Path, model: Path) -> None:
        assert server(build_dir, model) == [
            f"{build_dir}/bin/llama-server",
            *("--model", str(model), "--ctx-size", "2048", "--threads", "1"),
            *("--host", "127.0.0.1", "--port", "8080", "--metrics"),
        ]

    def test_everything_that_can_be_asked_of_a_server(self, build_dir: Path, model: Path) -> None:
        asked = {"host": "::1", "port": 9, "n_predict": 5, "parallel": 2, "metrics": False, "batch_size": 8}
        command = server(build_dir, model, extra_args=("--slots",), **asked)

        assert command[7:] == [
            *("--batch-size", "8", "--host", "::1", "--port", "9", "--n-predict", "5", "--parallel", "2", "--slots"),
        ]

    def test_relative_paths_become_absolute_but_links_stay(
        self, build_dir: Path, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (model.parent / "stable").symlink_to(build_dir)
        monkeypatch.chdir(model.parent)
        command = inference(Path("stable"), Path(model.name))

        assert command[0] == f"{model.parent}/stable/bin/llama-cli"
        assert command[2] == str(model)

    @given(prompt=st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1))
    def test_the_one_line_form_is_read_back_by_a_shell_as_the_same_words(self, prompt: str) -> None:
        line = command_line(["llama-cli", "--prompt", prompt])

        assert shlex.split(line) == ["llama-cli", "--prompt", prompt]
        assert "\n" not in line

    def test_a_real_shell_reads_the_line_too(self) -> None:
        words = ["printf", "%s|", "a 'b' \"c\"", "$HOME", "`x`", "*", "\\"]
        out = subprocess.run(["sh", "-c", command_line(words)], capture_output=True, text=True, check=True).stdout

        assert out == "a 'b' \"c\"|$HOME|`x`|*|\\|"

    def test_a_line_break_does_not_fit_on_one_line(self) -> None:
        with pytest.raises(InvalidInput, match="does not fit on one line"):
            command_line(["x", "a\nb"])


class TestThreads:
    @pytest.mark.parametrize(("asked", "given"), [("auto", 4), (1, 1), (8, 8)])
    def test_what_may_be_used_is_used(self, asked: Any, given: int) -> None:
        assert resolve_threads(asked, recommended=4, usable=8) == (given, "")

    def test_more_than_may_be_used_is_clamped_and_said(self, build_dir: Path, model: Path, caplog: Any) -> None:
        usable = BitNetRuntime(build_dir).cpu_count
        command = inference(build_dir, model, threads=usable + 1)

        assert command[command.index("--threads") + 1] == str(usable)
        assert f"threads={usable + 1} is more than the {usable} CPUs" in caplog.text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": " \n"}, "the prompt is empty"),
    ({"prompt": "a\0b"}, "holds NUL"),
    ({"prompt": "x" * (LONGEST_ARGUMENT + 1)}, "more than 131071 bytes"),
    ({"n_predict": 0}, "n_predict=0"),
    ({"n_predict": -2}, "n_predict=-2"),
    ({"n_predict": 2**31}, "out of range"),
    ({"n_predict": "5"}, "n_predict='5'"),
    ({"ctx_size": 7}, "ctx_size=7"),
    ({"ctx_size": -1}, "ctx_size=-1"),
    ({"ctx_size": True}, "ctx_size=True"),
    ({"temperature": -0.1}, "temperature=-0.1"),
    ({"temperature": float("nan")}, "temperature=nan"),
    ({"temperature": 11}, "temperature=11"),
    ({"temperature": "hot"}, "temperature='hot'"),
    ({"threads": 0}, "threads=0"),
    ({"threads": "many"}, "threads='many'"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"gpu_layers": -1}, "gpu_layers=-1"),
    ({"gpu_layers": "all"}, "gpu_layers='all'"),
    ({"extra_args": "--seed 1"}, "no list of arguments"),
    ({"extra_args": ["a\0"]}, "no list of arguments"),
    ({"extra_args": [1]}, "no list of arguments"),
]


@pytest.mark.parametrize(("asked", "what"), REFUSED, ids=[str(asked)[:40] for asked, _ in REFUSED])
def test_what_cannot_work_is_refused_with_a_next_step(
    build_dir: Path, model: Path, asked: dict[str, Any], what: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        inference(build_dir, model, **asked)

    assert what in caught.value.what
    assert caught.value.next_step


@pytest.mark.parametrize(
    "asked",
    [{"host": ""}, {"host": "a b"}, {"port": 0}, {"port": 65536}, {"n_predict": 0}, {"parallel": 0}],
    ids=str,
)
def test_what_no_server_can_do_is_refused(build_dir: Path, model: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(asked))):
        server(build_dir, model, **asked)


@pytest.mark.parametrize("extra", [["--file", "p.txt"], ["-f", "p.txt"]])
def test_a_prompt_may_come_from_a_file_instead(build_dir: Path, model: Path, extra: list[str]) -> None:
    assert inference(build_dir, model, prompt="", extra_args=extra)[-2:] == extra


def test_a_context_beyond_the_trained_one_is_said(build_dir: Path, model: Path, caplog: Any) -> None:
    inference(build_dir, model, ctx_size=4097)
    assert "ctx_size=4097 is more than the 4096 tokens" in caplog.text


def test_a_missing_binary_and_a_missing_model_are_named(tmp_path: Path, build_dir: Path, model: Path) -> None:
    with pytest.raises(BinaryNotFound, match="llama-server: not found"):
        server(tmp_path / "nothing", model)
    with pytest.raises(ModelUnusable, match="no such model file"):
        inference(build_dir, tmp_path / "none.gguf")


class TestMemoryAndPort:
    def test_what_can_never_fit_is_refused_even_as_a_dry_run(self, build_dir: Path, tmp_path: Path) -> None:
        model = Gguf(context=2**30).write(tmp_path / "m.gguf")
        with pytest.raises(NotEnoughMemory, match="this process may have at most") as caught:
            inference(build_dir, model, ctx_size=2**30)
        assert "ctx_size" in caught.value.next_step

    def test_what_does_not_fit_now_is_refused_at_launch(
        self, build_dir: Path, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from bitnet import runtime
        from bitnet.machine import Memory

        monkeypatch.setattr(runtime, "read_memory", lambda: Memory(total=1 << 40, available=1 << 20, limit=None))

        assert inference(build_dir, model), "a plan for later is fine"
        with pytest.raises(NotEnoughMemory, match="available are 1 MiB"):
            BitNetRuntime(build_dir).run_inference(model, "ping")

    @pytest.mark.parametrize(("missing", "refused"), [(0, False), (1, True)])
    def test_to_the_byte(self, build_dir: Path, model: Path, missing: int, refused: bool) -> None:
        machine = read_machine()
        plan = plan_server(
            build_dir,
            Ask(model, 2048, "auto", None, "auto", ()),
            machine,
            host="::1",
            port=1,
            n_predict=None,
            parallel=None,
            metrics=True,
        )
        with pytest.raises(NotEnoughMemory) if refused else nullcontext():
            check_memory(plan, plan.memory_needed - missing, "there are")

    def test_a_taken_port_is_refused_at_launch_but_not_as_a_dry_run(
        self, build_dir: Path, model: Path, free_port: int
    ) -> None:
        import socket

        with socket.create_server(("127.0.0.1", free_port), reuse_port=True):
            assert server(build_dir, model, port=free_port), "the unit file of a running server can be written"
            with pytest.raises(PortTaken, match=f"port {free_port} on 127.0.0.1 is taken") as caught:
                BitNetRuntime(build_dir).run_server(model, port=free_port)
        assert f"ss -ltnp 'sport = :{free_port}'" in caught.value.next_step

    @pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
    def test_an_address_of_another_machine_is_refused(self, build_dir: Path, model: Path, host: str) -> None:
        with pytest.raises(InvalidInput, match=host):
            BitNetRuntime(build_dir).run_server(model, host=host)


class TestGpuLayers:
    def test_a_build_without_a_gpu_backend_is_asked_for_no_layers(
        self, build_dir: Path, model: Path, caplog: Any
    ) -> None:
        assert "--gpu-layers" not in inference(build_dir, model, gpu_layers=0)
        assert caplog.text == ""
        assert "--gpu-layers" not in inference(build_dir, model, gpu_layers=5)
        assert "gpu_layers=5" in caplog.text
        assert "has no GPU backend" in caplog.text

    @pytest.mark.parametrize(("asked", "layers"), [("auto", "0"), (3, "3")])
    def test_a_cuda_build_is_told_how_many_even_without_a_gpu(self, tmp_path: Path, asked: Any, layers: str) -> None:
        model = Gguf(architecture="llama", kind=Q.Q8_0).write(tmp_path / "m.gguf")
        command = inference(build(tmp_path / "b", UPSTREAM + CUDA), model, gpu_layers=asked)

        assert command[command.index("--gpu-layers") + 1] == layers

    def test_auto_is_what_fits_into_the_free_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from bitnet import runtime
        from bitnet.machine import Gpu, Gpus, GpuState, Machine, read_cpu, read_memory

        gpus = Gpus(GpuState.PRESENT, (Gpu(0, "GPU-0", "H", 80 << 30, 80 << 30),))
        monkeypatch.setattr(runtime, "read_machine", lambda _: Machine(read_cpu(), read_memory(), gpus))
        model = Gguf(architecture="llama", kind=Q.Q8_0, layers=3).write(tmp_path / "m.gguf")
        command = inference(build(tmp_path / "b", UPSTREAM + CUDA), model)

        assert command[command.index("--gpu-layers") + 1] == "4"


def test_every_refusal_is_a_failure_that_callers_can_catch_as_one(build_dir: Path, model: Path) -> None:
    with pytest.raises(RuntimeFailure):
        inference(build_dir, model, prompt="")

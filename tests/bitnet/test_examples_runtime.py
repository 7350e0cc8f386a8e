"""The examples of docs/bitnet.md run as they stand, with a readable model in place."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from bitnet import cli_options
from tests.bitnet.runtime.conftest import CHECKOUT, demo_model, native_build

__all__ = ["demo_model", "native_build"]

DOCUMENT = (CHECKOUT / "docs/bitnet.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) for line in block.splitlines()]


async def run(code: str, **names: object) -> dict[str, object]:
    """Run `code`, which may await at its top level; the names that it leaves."""
    compiled = compile(code, "docs/bitnet.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    left: dict[str, object] = dict(names)
    waiting = eval(compiled, left)
    if inspect.isawaitable(waiting):
        await waiting
    return left


@pytest.fixture
def in_place(tmp_path: Path, native_build: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `build` and the model where the examples expect them."""
    (tmp_path / "build").symlink_to(native_build)
    model = tmp_path / "models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf"
    model.parent.mkdir(parents=True)
    model.symlink_to(demo_model)
    monkeypatch.chdir(tmp_path)
    # The examples start `python`, which Debian has under another name.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return model


@pytest.mark.native
async def test_the_first_example_answers_and_ends_what_outlives_its_deadline(
    in_place: Path, example_ports: None, capsys: pytest.CaptureFixture[str]
) -> None:
    left = await run(BLOCKS[0])

    assert left["result"].returncode == 0  # type: ignore[attr-defined]
    said = capsys.readouterr().out
    assert "> Summarise …" in said
    assert "\n5 " in said, "the deadline of the program that was ended"
    assert left["supervisor"].runtime is left["runtime"]  # type: ignore[attr-defined]


@pytest.mark.native
def test_the_others_launch_without_an_event_loop_and_tell_prometheus(
    in_place: Path, example_ports: None, capsys: pytest.CaptureFixture[str]
) -> None:
    left: dict[str, object] = {"model_path": in_place}
    exec(compile(BLOCKS[1], "docs/bitnet.md", "exec"), left)

    assert left["command"][0] == f"{in_place.parents[2]}/build/bin/llama-server"  # type: ignore[index]
    assert left["answer"].returncode == 0  # type: ignore[attr-defined]
    assert 'bitnet_runtime_launches_total{outcome="ok",program="llama-cli"} 1.0' in str(left["text"])
    assert left["otel_payload"]["resourceMetrics"]  # type: ignore[index]
    assert "the only build" in capsys.readouterr().out
    assert Path("launches.jsonl").read_text().count("\n") >= 2

    exec(compile(BLOCKS[2], "docs/bitnet.md", "exec"), left)
    assert 'bitnet_runtime_launches_total{outcome="ok",program="llama-cli"} 2.0' in left["runtime"].prometheus_metrics()  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_document_is_one_that_is_understood(command: str) -> None:
    program, *words = shlex.split(command)

    assert program == "bitnet"
    assert cli_options.parser().parse_args(words).verb == words[0]

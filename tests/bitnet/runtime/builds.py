"""Build folders with real, tiny programs in them.

A program is a shell script that ends before a row of C strings: what llama.cpp's own programs contain, so that they
are recognised the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UPSTREAM = ("f32", "f16", "q8_0", "tq1_0", "tq2_0", "q4_K", "mxfp4", "bitnet", "llama", "--single-turn", "--simple-io")
BITNET_CPP = ("f32", "f16", "q8_0", "tq1_0", "tq2_0", "i2_s", "tl2", "bitnet", "bitnet-b1.58", "llama", "--simple-io")
CUDA = ("ggml_backend_cuda_init",)

ANSWERS = """\
if [ "$1" = --version ]; then echo "version: 7 (abc)" >&2; exit 0; fi
echo "args: $*"
"""


def program(path: Path, names: Sequence[str] = UPSTREAM, script: str = ANSWERS) -> Path:
    """An executable at `path` that runs `script` and contains `names`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    strings = b"".join(name.encode() + b"\0" for name in names)
    path.write_bytes(f"#!/bin/sh\n{script}\nexit 0\n".encode() + b"\0" + strings)
    path.chmod(0o755)
    return path


def needing(*features: str, architecture: str = "", profile: str = "") -> dict[str, Any]:
    """The facts of a build.json for a processor with `features`."""
    return {"cpu": {"architecture": architecture, "features": list(features)}, "profile": profile}


def build(root: Path, names: Sequence[str] = UPSTREAM, script: str = ANSWERS, **facts: object) -> Path:
    """A build folder with both programs; `facts` go to its build.json."""
    for name in ("llama-cli", "llama-server"):
        program(root / "bin" / name, names, script)
    if facts:
        (root / "build.json").write_text(json.dumps(facts))
    return root

"""A project folder to build releases of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from provision.project.schema import Project
from provision.release import Release, build


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def declare(services: Mapping[str, Any] | None = None, target: Mapping[str, Any] | None = None, **rest: Any) -> Project:
    return Project.model_validate(
        {
            "name": "cres",
            "services": services or {"web": {"command": ["web"]}},
            "targets": {"there": {"hosts": ["a"], "path": "/srv/cres", **(target or {})}},
            **rest,
        }
    )


def released(root: Path, services: Mapping[str, Any] | None = None, **declared: Any) -> Release:
    return build(declare(services, **declared), "there", root)


def paths(release: Release) -> list[str]:
    return [entry.path for entry in release.files]


def write_model(path: Path, *, architecture: str = "bitnet", seed: int = 0) -> None:
    """A real, tiny GGUF file with two types of tensors and some metadata to skip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_uint32("bitnet.block_count", 1)
    writer.add_bool("some.flag", True)
    writer.add_float64("some.number", 0.5)
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "ü" * 40])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5, 2.5])
    writer.add_tensor("plain.weight", np.full((2, 4), seed, dtype=np.float32))
    packed = gguf.quants.quantize(np.zeros((2, 256), dtype=np.float32), gguf.GGMLQuantizationType.TQ2_0)
    writer.add_tensor("packed.weight", packed, raw_dtype=gguf.GGMLQuantizationType.TQ2_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

"""A projector as llava has it, so small that it takes nothing to make: a model with it sees, and understands nothing.

Names and keys are those that llama.cpp reads (tools/mtmd/clip-impl.h). Weights are chance; a picture becomes a token
for each patch, as wide as the model that is to see.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import gguf
import numpy as np

_WIDTH, _IMAGE, _PATCH, _LAYERS = 64, 28, 14, 2
PATCHES = (_IMAGE // _PATCH) ** 2  # tokens of a picture


def write_projector(path: Path, model_width: int = 512) -> None:
    """Write it to `path`, for a model whose embedding is `model_width` wide, as the demo's is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(value=True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_use_gelu(value=True)
    writer.add_vision_projection_dim(model_width)
    writer.add_vision_image_size(_IMAGE)
    writer.add_vision_patch_size(_PATCH)
    writer.add_vision_embedding_length(_WIDTH)
    writer.add_vision_feed_forward_length(2 * _WIDTH)
    writer.add_vision_block_count(_LAYERS)
    writer.add_vision_head_count(2)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    chance = np.random.default_rng(158)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", chance.normal(0, 0.05, shape).astype(np.float16))

    def vector(name: str, length: int, value: float = 0.0) -> None:
        writer.add_tensor(name, np.full(length, value, np.float32))

    matrix("v.patch_embd", _WIDTH, 3, _PATCH, _PATCH)
    matrix("v.position_embd", PATCHES, _WIDTH)
    for layer in range(_LAYERS):
        at = f"v.blk.{layer}"
        for name, rows, columns in (
            *((f"attn_{each}", _WIDTH, _WIDTH) for each in ("q", "k", "v", "out")),
            ("ffn_up", 2 * _WIDTH, _WIDTH),
            ("ffn_down", _WIDTH, 2 * _WIDTH),
        ):
            matrix(f"{at}.{name}", rows, columns)
            vector(f"{at}.{name}.bias", rows)
        for name in ("ln1", "ln2"):
            vector(f"{at}.{name}.weight", _WIDTH, 1.0)
            vector(f"{at}.{name}.bias", _WIDTH)
    for at, rows, columns in (("mm.0", model_width, _WIDTH), ("mm.2", model_width, model_width)):
        matrix(at, rows, columns)
        vector(f"{at}.bias", rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def picture(red: int, green: int, blue: int) -> bytes:
    """A PNG of that colour, as large as the projector looks at."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", _IMAGE, _IMAGE, 8, 2, 0, 0, 0)
    lines = (b"\0" + bytes((red, green, blue)) * _IMAGE) * _IMAGE
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")

"""Small GGUF files of any shape, written by the `gguf` package; types that it does not know are patched in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType
BLOCK_ROWS = 4


@dataclass(frozen=True)
class Gguf:
    """What to write. Every layer has one tensor of `kind` with 4 x 256 weights."""

    architecture: str = "bitnet"
    kind: gguf.GGMLQuantizationType = Q.TQ2_0
    layers: int = 2
    context: int = 4096
    width: int = 256
    heads: int = 4
    kv_heads: int | list[int] = 2
    tokens: int = 10
    chat_template: str = ""
    extra: Mapping[str, int] = field(default_factory=dict)
    endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture, endianess=self.endian)
        writer.add_name("tiny")
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.width)
        writer.add_block_count(self.layers)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_token_list([f"t{number}" for number in range(self.tokens)])
        writer.add_token_scores([0.0] * self.tokens)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)
        for key, value in self.extra.items():
            writer.add_uint32(key, value)
        writer.add_tensor("token_embd.weight", np.zeros((self.tokens, self.width), np.float16))
        for layer in range(self.layers):
            block, size = gguf.GGML_QUANT_SIZES[self.kind]
            data = np.zeros((BLOCK_ROWS, 256 // block * size), np.uint8)
            writer.add_tensor(f"blk.{layer}.ffn_up.weight", data, raw_dtype=self.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def with_type_id(path: Path, tensor: str, type_id: int) -> Path:
    """Change the type number of one tensor in the file's header."""
    data = bytearray(path.read_bytes())
    at = data.index(tensor.encode()) + len(tensor)
    (dimensions,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at + 4 + 8 * dimensions, type_id)
    path.write_bytes(data)
    return path

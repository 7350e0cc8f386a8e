"""The model that the demo serves: architecture `bitnet`, ternary weights, and nothing learned.

Its weights are random. It proves that a model server can be shipped, started, asked and promoted; it proves nothing
about prose. The bytes are the same on every machine: a bit generator's raw stream is fixed for ever
(numpy, "Compatibility policy"), which its distributions are not, so everything is made from raw bits.

TQ2_0 (ggml-common.h, block_tq2_0) packs 256 weights into 64 bytes of 2-bit fields 0, 1, 2 for -1, 0, +1, and a
16-bit scale after them. I2_S, which microsoft/BitNet's programs alone read, has such bytes for a whole tensor, and one
32-bit scale in 32 bytes after them; which weight of a row a field is makes no difference to chance.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import gguf
import numpy as np
from numpy.typing import NDArray

from provision.native.vocabulary import Vocabulary, vocabulary

Size = Literal["demo", "2b4t"]
Ternary = Literal["TQ2_0", "I2_S"]

_NAME = "Random weights (prove the path, not the prose)"
_SEED = 158  # b1.58; any number will do, as long as it stays

_BLOCK = 256  # weights of a TQ2_0 block
_BLOCK_BYTES = 66
_SCALE_BYTES = 32  # of an I2_S tensor
# Numbers of microsoft/BitNet's own, which the gguf package does not know.
_I2_S, _MOSTLY_I2_S = 36, 40

# Four fields of 0, 1 or 2 in a byte, for each random byte. 256 is no multiple of 81: some come a third more often.
_FOUR_TRITS = np.array([sum(n // 3**field % 3 << 2 * field for field in range(4)) for n in range(81)], np.uint8)[
    np.arange(256) % 81
]

# Logits are then about this times the square root of a third of the width: clear favourites, many of them.
_EMBEDDING_SPREAD = 0.4
_LOUDER = 16


@dataclass(frozen=True)
class Shape:
    """A transformer's numbers; widths are multiples of a block."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int
    tokens: int


SHAPES: dict[Size, Shape] = {
    "demo": Shape(width=512, layers=4, heads=8, kv_heads=4, feed_forward=1536, context=2048, tokens=576),
    # microsoft/bitnet-b1.58-2B-4T, config.json
    "2b4t": Shape(width=2560, layers=30, heads=20, kv_heads=5, feed_forward=6912, context=4096, tokens=128256),
}


@dataclass(frozen=True)
class ModelFacts:
    """What was written. The same size always has the same `sha256`."""

    path: Path
    name: str
    architecture: str
    tensor_types: tuple[str, ...]
    parameters: int
    bytes: int
    sha256: str


def write_demo_model(path: Path, size: Size = "demo", ternary: Ternary = "TQ2_0") -> ModelFacts:
    """Write the model to `path`, complete or not at all: 4 MB, or with `2b4t` 1.2 GB of the real model's shape.

    Args:
        ternary: the type of its matrices.
    """
    shape = SHAPES[size]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        part = Path(scratch) / path.name
        writer = gguf.GGUFWriter(part, "bitnet")
        words = vocabulary(shape.tokens)
        _describe(writer, shape, words, ternary)
        tensors = list(_tensors(shape, ternary))
        for tensor in tensors:
            dimensions = (tensor.rows, tensor.columns) if tensor.rows else (tensor.columns,)
            writer.add_tensor_info(tensor.name, dimensions, np.dtype("f4"), tensor.bytes, raw_dtype=tensor.number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # One tensor in memory at a time: the large model is larger than some machines that make it.
        bits = np.random.PCG64(_SEED)
        for tensor in tensors:
            writer.write_tensor_data(_values(tensor, bits, words.says))
        writer.close()
        part.replace(path)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return ModelFacts(
        path=path,
        name=_NAME,
        architecture="bitnet",
        tensor_types=tuple(sorted({tensor.kind for tensor in tensors})),
        parameters=sum(tensor.weights for tensor in tensors),
        bytes=path.stat().st_size,
        sha256=digest,
    )


def _describe(writer: gguf.GGUFWriter, shape: Shape, words: Vocabulary, ternary: Ternary) -> None:
    writer.add_name(_NAME)
    writer.add_description("Not trained. Generated to test deployments; every token it says is chance.")
    writer.add_file_type(_MOSTLY_I2_S if ternary == "I2_S" else gguf.LlamaFileType.MOSTLY_TQ2_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.end)
    writer.add_eos_token_id(words.end)
    writer.add_add_bos_token(value=True)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")


@dataclass(frozen=True)
class _Tensor:
    name: str
    columns: int
    rows: int = 0  # 0: a vector
    kind: str = "F32"

    @property
    def weights(self) -> int:
        return self.columns * max(1, self.rows)

    @property
    def number(self) -> gguf.GGMLQuantizationType:
        return cast(gguf.GGMLQuantizationType, _I2_S) if self.kind == "I2_S" else gguf.GGMLQuantizationType[self.kind]

    @property
    def bytes(self) -> int:
        if self.kind == "I2_S":
            return self.weights // 4 + _SCALE_BYTES
        block, block_bytes = gguf.GGML_QUANT_SIZES[self.number]
        return self.weights // block * block_bytes


def _tensors(shape: Shape, ternary: Ternary) -> Iterator[_Tensor]:
    """Every tensor that llama.cpp's `bitnet` architecture reads, in the order of the file."""
    key_value = shape.width // shape.heads * shape.kv_heads
    yield _Tensor("token_embd.weight", shape.width, shape.tokens, "F16")
    for layer in range(shape.layers):
        for name, columns, rows in (
            ("attn_norm", shape.width, 0),
            ("attn_q", shape.width, shape.width),
            ("attn_k", shape.width, key_value),
            ("attn_v", shape.width, key_value),
            ("attn_sub_norm", shape.width, 0),
            ("attn_output", shape.width, shape.width),
            ("ffn_norm", shape.width, 0),
            ("ffn_gate", shape.width, shape.feed_forward),
            ("ffn_up", shape.width, shape.feed_forward),
            ("ffn_sub_norm", shape.feed_forward, 0),
            ("ffn_down", shape.feed_forward, shape.width),
        ):
            yield _Tensor(f"blk.{layer}.{name}.weight", columns, rows, ternary if rows else "F32")
    yield _Tensor("output_norm.weight", shape.width)


def _values(tensor: _Tensor, bits: np.random.PCG64, says: list[bool]) -> NDArray[Any]:
    """The tensor's content: ones for a norm, random words for the embedding, random ternary blocks for the rest."""
    if tensor.kind == "F32":
        return np.ones(tensor.columns, dtype="<f4")
    if tensor.kind == "F16":
        of_byte = (np.arange(-128, 128) / 128 * _EMBEDDING_SPREAD).astype("<f2")
        embedding = of_byte[_random_bytes(bits, tensor.weights)].reshape(tensor.rows, tensor.columns)
        # The embedding is the output layer too: rows this small have logits near 0, far below the best of the others.
        # As input they count in full, because the first thing a layer does is to norm them.
        embedding[~np.array(says)] /= 32
        return embedding
    trits = _FOUR_TRITS[_random_bytes(bits, tensor.weights // 4)]
    # Two thirds of the weights are not 0 and inputs are normed to 1, so this scale makes outputs about 1 as well. What
    # is added to the residual stream weighs more, or the model would say again and again what it has just said.
    louder = _LOUDER if tensor.name.endswith(("attn_output.weight", "ffn_down.weight")) else 1
    scale = louder * (2 / 3 * tensor.columns) ** -0.5
    if tensor.kind == "I2_S":
        after = np.zeros(_SCALE_BYTES // 4, dtype="<f4")
        after[0] = scale
        return np.concatenate([trits, after.view(np.uint8)])
    blocks = np.empty((tensor.weights // _BLOCK, _BLOCK_BYTES), dtype=np.uint8)
    blocks[:, :-2] = trits.reshape(-1, _BLOCK_BYTES - 2)
    blocks[:, -2:] = np.array([scale], dtype="<f2").view(np.uint8)
    return blocks


def _random_bytes(bits: np.random.PCG64, count: int) -> NDArray[np.uint8]:
    words: NDArray[np.uint64] = bits.random_raw(-(-count // 8))
    return words.astype("<u8").view(np.uint8)[:count]

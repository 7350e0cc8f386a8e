"""Models of many shapes, written in a moment: their weights are zeros, which take as much room as any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from provision.native.vocabulary import vocabulary


@dataclass(frozen=True)
class Shape:
    """A transformer of llama.cpp's `llama` graph; with `experts`, a mixture of which two are asked for each token."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    tokens: int
    experts: int = 0
    weights: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0
    tied: bool = False  # the embedding is the output layer too


def write(path: Path, shape: Shape) -> Path:
    """Write a model of that shape to `path`."""
    writer = gguf.GGUFWriter(path, "llama")
    words = vocabulary(shape.tokens)
    writer.add_name("zeros")
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.end)
    writer.add_eos_token_id(words.end)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(2)
    for name, dimensions in _tensors(shape).items():
        kind = shape.weights if len(dimensions) > 1 else gguf.GGMLQuantizationType.F32
        block, size = gguf.GGML_QUANT_SIZES[kind]
        zeros = np.zeros((*dimensions[:-1], dimensions[-1] // block * size), np.uint8)
        writer.add_tensor(name, zeros, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and dimensions of each tensor, the longest last as numpy has it."""
    width, inner, key_value = shape.width, shape.feed_forward, shape.width // shape.heads * shape.kv_heads
    found: dict[str, tuple[int, ...]] = {"token_embd": (shape.tokens, width), "output_norm": (width,)}
    if not shape.tied:
        found["output"] = (shape.tokens, width)
    for layer in range(shape.layers):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (key_value, width),
            "attn_v": (key_value, width),
            "attn_output": (width, width),
            "ffn_norm": (width,),
        }
        if shape.experts:
            parts["ffn_gate_inp"] = (shape.experts, width)
        of = "_exps" if shape.experts else ""
        many = (shape.experts,) if shape.experts else ()
        parts |= {f"ffn_gate{of}": (*many, inner, width), f"ffn_up{of}": (*many, inner, width)}
        parts[f"ffn_down{of}"] = (*many, width, inner)
        found |= {f"blk.{layer}.{name}": dimensions for name, dimensions in parts.items()}
    return {f"{name}.weight": dimensions for name, dimensions in found.items()}

"""Tensor types by name, those of bitnet.cpp included.

Upstream's numbers come from the `gguf` package. microsoft/BitNet's fork of ggml gave 36 to 39 to its own types, which
upstream had used for types that it has since removed, except 39: there it is TL2 in the fork and MXFP4 upstream. The
space that the tensor takes in the file tells which.
"""

from __future__ import annotations

import math

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

BITNET_CPP_TYPES = frozenset({"I2_S", "I8_S", "TL1", "TL2"})
# CUDA has no kernel for these; llama.cpp then keeps such weights on the CPU whatever --gpu-layers says.
CPU_ONLY_TYPES = BITNET_CPP_TYPES | {"TQ1_0", "TQ2_0"}

UNNAMED = "type "  # how a type begins that is newer than the gguf package

_FORK = {36: "I2_S", 37: "I8_S", 38: "TL1"}
_TL2_OR_MXFP4 = 39
_SCALE_BYTES = 32  # the fork keeps one scale, padded, behind the packed weights of an I2_S tensor


def type_name(type_id: int, elements: int, room: int, alignment: int) -> str:
    """The name of a tensor's type, where `room` is how many bytes lie between it and the next tensor."""
    if type_id == _TL2_OR_MXFP4:
        upstream = -(-(_packed(GGMLQuantizationType.MXFP4, elements)) // alignment) * alignment
        return "MXFP4" if room >= upstream else "TL2"
    if type_id in _FORK:
        return _FORK[type_id]
    try:
        return str(GGMLQuantizationType(type_id).name)
    except ValueError:
        return f"{UNNAMED}{type_id}"


def tensor_bytes(name: str, shape: tuple[int, ...]) -> int | None:
    """The bytes that a tensor takes; None for types whose size is not a matter of their shape alone."""
    elements = math.prod(shape)
    if name == "I2_S":
        return elements // 4 + _SCALE_BYTES
    if name in BITNET_CPP_TYPES or name.startswith(UNNAMED):
        return None
    return _packed(GGMLQuantizationType[name], elements)


def ggml_name(name: str) -> str:
    """How ggml's own table spells the type: lower case, but `q4_K`."""
    lower = name.lower()
    return lower[:-1] + "K" if lower.endswith("_k") else lower


def _packed(kind: GGMLQuantizationType, elements: int) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return -(-elements // block) * int(size)

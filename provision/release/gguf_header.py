"""What a GGUF file says of itself: its architecture and the types of its tensors.

Read from the file's beginning, after the GGUF specification (ggml, docs/gguf.md), version 2 and 3, little-endian. The
`gguf` package reads it too, but refuses the types that microsoft/BitNet alone has, and those have to be named: they
decide which binary can load the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_STRING, _ARRAY = 8, 9
_LONGEST_TEXT = 1 << 30  # a length above this is no length

# ggml.h of microsoft/BitNet. Upstream has given up the first three numbers and uses 39 for MXFP4.
_BITNET_TYPES = {36: "I2_S", 37: "I8_S", 38: "TL1", 39: "TL2"}


class NotGguf(ValueError):
    """The file is not what its name says; the message says what was found."""


@dataclass(frozen=True)
class Header:
    architecture: str
    tensor_types: tuple[str, ...]  # each once, sorted


def read_header(path: Path) -> Header:
    """Read the header of a model.

    Raises:
        NotGguf: the file is no GGUF file, or is cut short.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic != MAGIC:
            raise NotGguf(f"it begins with {magic!r}, and a GGUF file with {MAGIC!r}")
        (version,) = _unpack(file, "<I")
        if version not in (2, 3):
            raise NotGguf(f"it has GGUF version {version}, and versions 2 and 3 are known")
        tensors, pairs = _unpack(file, "<QQ")
        architecture = ""
        for _ in range(pairs):
            key = _text(file)
            (kind,) = _unpack(file, "<I")
            if key == b"general.architecture" and kind == _STRING:
                architecture = _text(file).decode(errors="replace")
            else:
                _skip(file, kind)
        numbers = {_tensor_type(file) for _ in range(tensors)}
    return Header(architecture, tuple(sorted(_type_name(number, architecture) for number in numbers)))


def _tensor_type(file: BinaryIO) -> int:
    _text(file)
    (dimensions,) = _unpack(file, "<I")
    *_, kind, _ = _unpack(file, f"<{min(dimensions, 8)}QIQ")
    return int(kind)


def _type_name(number: int, architecture: str) -> str:
    from gguf.constants import GGMLQuantizationType  # brings numpy, and is needed once per model

    known: dict[int, str] = {kind.value: kind.name for kind in GGMLQuantizationType}
    if architecture.startswith("bitnet"):
        known |= _BITNET_TYPES
    return known.get(number) or _BITNET_TYPES.get(number) or f"type {number}"


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _text(file)
    elif kind == _ARRAY:
        inner, count = _unpack(file, "<IQ")
        if inner in _FIXED:
            file.seek(_FIXED[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    elif kind in _FIXED:
        file.seek(_FIXED[kind], 1)
    else:
        raise NotGguf(f"it holds a value of the unknown type {kind}")


def _text(file: BinaryIO) -> bytes:
    (length,) = _unpack(file, "<Q")
    if length > _LONGEST_TEXT:
        raise NotGguf("it is damaged: a text in its header has an impossible length")
    text = file.read(length)
    if len(text) != length:
        raise NotGguf("it ends within its header: the file is cut short")
    return text


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    size = struct.calcsize(layout)
    raw = file.read(size)
    if len(raw) != size:
        raise NotGguf("it ends within its header: the file is cut short")
    return struct.unpack(layout, raw)

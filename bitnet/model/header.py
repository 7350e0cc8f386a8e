"""The header of a GGUF file: metadata and the list of tensors, never the weights.

The layout is that of the GGUF specification (ggml, docs/gguf.md): magic, version, two counts, key-value pairs, tensor
infos, then the data at the next multiple of `general.alignment`. Value types come from the `gguf` package. Its own
reader is not used, because it refuses the tensor types of bitnet.cpp and builds an array per vocabulary entry; here
strings of arrays are skipped.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path

from gguf import GGUF_DEFAULT_ALIGNMENT, GGUF_MAGIC, GGUFValueType

_SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
_LONGEST_KEPT_ARRAY = 4096  # per-layer settings are kept, token scores are not
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS

Value = int | float | bool | str | tuple[int | float | bool, ...]


class BadHeader(ValueError):
    """The file is no GGUF file, or its header contradicts itself; the text says where."""


class CutShort(BadHeader):
    """The file ends before its header does."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's entry; `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What the file declares. `lengths` has the length of each array, also of those whose values are not kept."""

    version: int
    file_bytes: int
    data_offset: int
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """The header of the file at `path`.

    Raises:
        BadHeader: it is no GGUF file; `CutShort` if it ends too early.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise CutShort("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return header_of(data, len(data))


def header_of(start: mmap.mmap | bytes, file_bytes: int) -> Header:
    """The header of a file of which this is the start.

    Raises:
        BadHeader: it is no GGUF file; `CutShort` if the start, or the file, ends too early.
    """
    try:
        return _Cursor(start, file_bytes).header()
    except (struct.error, OverflowError) as error:
        raise CutShort("the file ends inside its header") from error


class _Cursor:
    """Walks through the bytes of a header; the byte order is found out from the version."""

    def __init__(self, data: mmap.mmap | bytes, file_bytes: int) -> None:
        self.data = data
        self.file_bytes = file_bytes
        self.at = 0
        self.order = "<"

    def header(self) -> Header:
        if self.data[:4] != struct.pack("<I", GGUF_MAGIC):
            raise BadHeader(f"it starts with {bytes(self.data[:4])!r} instead of b'GGUF'")
        self.at = 4
        if (version := self.take("I")) & 0xFFFF == 0:
            self.order, self.at = ">", 4
            version = self.take("I")
        if version not in (2, 3):
            raise BadHeader(f"GGUF version {version} is not known")
        tensor_count, pair_count = self.take("Q"), self.take("Q")
        self.check_count(tensor_count, 24)
        self.check_count(pair_count, 13)
        header = Header(int(version), self.file_bytes, 0, ())
        for _ in range(pair_count):
            key = self.string()
            self.value(key, header)
        tensors = tuple(self.tensor() for _ in range(tensor_count))
        alignment = header.metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise BadHeader(f"general.alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        return Header(header.version, header.file_bytes, start, tensors, header.metadata, header.lengths)

    def take(self, code: str) -> int:
        """The next number of that `struct` code; callers of float codes know that it is one."""
        layout = self.order + code
        (number,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return number  # type: ignore[no-any-return]

    def string(self) -> str:
        length = self.take("Q")
        self.check_count(length, 1)
        if self.at + length > len(self.data):
            raise CutShort(f"byte {self.at}: the file ends inside its header")
        text = self.data[self.at : self.at + length].decode("utf-8", "replace")
        self.at += length
        return text

    def check_count(self, count: int, smallest: int) -> None:
        """A count of things that cannot lie in what is left of the file is a lie or a cut."""
        if count * smallest > self.file_bytes - self.at:
            raise CutShort(f"byte {self.at}: {count} entries do not fit into the rest of the file")

    def kind(self) -> GGUFValueType:
        number = self.take("I")
        try:
            return GGUFValueType(number)
        except ValueError:
            raise BadHeader(f"byte {self.at - 4}: {number} is no GGUF value type") from None

    def value(self, key: str, header: Header) -> None:
        kind = self.kind()
        if kind is GGUFValueType.ARRAY:
            header.lengths[key], values = self.array()
            if values:
                header.metadata[key] = values
        else:
            header.metadata[key] = self.string() if kind is GGUFValueType.STRING else self.take(_SCALARS[kind])

    def array(self) -> tuple[int, tuple[int | float | bool, ...]]:
        kind, count = self.kind(), self.take("Q")
        if kind is GGUFValueType.STRING:
            self.check_count(count, 8)
            self.skip_strings(count)
            return count, ()
        if kind is GGUFValueType.ARRAY:
            raise BadHeader(f"byte {self.at}: arrays of arrays are not part of GGUF as llama.cpp reads it")
        layout = f"{self.order}{count}{_SCALARS[kind]}"
        self.check_count(count, struct.calcsize(_SCALARS[kind]))
        values = struct.unpack_from(layout, self.data, self.at) if count <= _LONGEST_KEPT_ARRAY else ()
        self.at += struct.calcsize(layout)
        return count, values

    def skip_strings(self, count: int) -> None:
        length = struct.Struct(self.order + "Q").unpack_from
        data, at = self.data, self.at  # local names: this loop runs once a vocabulary entry
        for _ in range(count):
            at += 8 + length(data, at)[0]
        self.at = at

    def tensor(self) -> TensorInfo:
        name, dimensions = self.string(), self.take("I")
        if dimensions > _MOST_DIMENSIONS:
            raise BadHeader(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.take("Q") for _ in range(dimensions))
        return TensorInfo(name, shape, self.take("I"), self.take("Q"))

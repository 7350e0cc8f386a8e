"""A model that is on the host already, named by an absolute path: judged as one that is shipped, never copied.

What is read of it is the header of a GGUF file (ggml, docs/gguf.md): whether it is whole, and which types that one kind
of program alone reads its tensors are of. A release does not hold its digest, so who replaces it gives it a new name.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, List, Tuple

from ..contract.failure import REFUSED, Failure
from . import trust

if TYPE_CHECKING:
    from ..contract.release import ServiceDocument

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value, by its type
_STRING, _ARRAY = 8, 9
_FORK = {36: "I2_S", 37: "I8_S", 38: "TL1"}  # microsoft/BitNet's own
_TL2_OR_MXFP4, _MXFP4_BLOCK, _MXFP4_BYTES = 39, 32, 17
_MOST = 1 << 24  # tensors, values: more is no model


def judge(service: ServiceDocument) -> None:
    """Refuse a host's own model, draft or projector, that is not there, is none, or could be changed by others.

    Raises:
        Failure: it can't be served.
    """
    said = {"model": service["model"], "draft": service.get("draft", ""), "mmproj": service.get("mmproj", "")}
    for key, path in said.items():
        if path.startswith("/"):
            _judge(service, key, path)


def _judge(service: ServiceDocument, key: str, path: str) -> None:
    if not os.path.isfile(path):
        raise Failure(
            REFUSED,
            f"{service['name']}: there is no model {path}, neither on this host nor where deploy runs.",
            next_step=f"put it there, or name one of the project's: services.{service['name']}.{key}",
        )
    wrong = trust.fault(path)
    if wrong:
        raise Failure(
            REFUSED,
            f"{service['name']}: others could change the model {path}: {wrong}.",
            "What a program reads is believed, and nobody compares this file with a digest.",
            wrong.remedy,
        )
    types(path)


def types(path: str) -> List[str]:
    """Those of its tensors' types that one kind of program alone reads.

    Raises:
        Failure: it is no GGUF file, or not whole.
    """
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return sorted(_Header(data).types())
    except (OSError, ValueError, KeyError, struct.error, IndexError) as error:
        raise Failure(
            REFUSED, f"the model {path} is no whole GGUF file: {error}.", next_step="fetch it again, or name another"
        ) from None


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 4
        if data[:4] != b"GGUF":
            raise ValueError(f"it starts with {bytes(data[:4])!r}")
        self.order = "<" if data[4:6] != b"\0\0" else ">"

    def types(self) -> List[str]:
        self._number("I")  # the version
        tensors, pairs = self._count(), self._count()
        alignment = 32
        for _ in range(pairs):
            key = self._string()
            kind = self._number("I")
            if key == b"general.alignment" and kind == 4:
                alignment = self._number("I")
            else:
                self._skip(kind)
        found = [self._tensor() for _ in range(tensors)]
        start = -(-self.at // max(alignment, 1)) * max(alignment, 1)
        ends = [*sorted({offset for _, _, offset in found}), len(self.data) - start]
        if ends[-1] <= max(ends[:-1], default=0):
            raise ValueError("it ends before its tensors do")
        named = set()
        for kind, elements, offset in found:
            room = next(end for end in ends if end > offset) - offset
            if kind == _TL2_OR_MXFP4:
                named |= {"TL2"} if room < elements // _MXFP4_BLOCK * _MXFP4_BYTES else set()
            elif kind in _FORK:
                named.add(_FORK[kind])
        return list(named)

    def _tensor(self) -> Tuple[int, int, int]:
        """Type, number of values, and where they are."""
        self._string()
        elements = 1
        for _ in range(self._number("I")):
            elements *= self._number("Q")
        return self._number("I"), elements, self._number("Q")

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            inner, count = self._number("I"), self._count()
            if inner == _STRING:
                for _ in range(count):
                    self._string()
            else:
                self.at += _SIZES[inner] * count
        else:
            self.at += _SIZES[kind]

    def _string(self) -> bytes:
        length = self._number("Q")
        if length > len(self.data) - self.at:
            raise ValueError("it ends inside its header")
        self.at += length
        return self.data[self.at - length : self.at]

    def _count(self) -> int:
        count = self._number("Q")
        if count > _MOST:
            raise ValueError(f"its header tells of {count} entries")
        return count

    def _number(self, code: str) -> int:
        (number,) = struct.unpack_from(self.order + code, self.data, self.at)
        self.at += struct.calcsize(self.order + code)
        return int(number)

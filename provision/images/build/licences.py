"""The licences of what is compiled in: each has to travel with its binaries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Single-header libraries have theirs at their end, after these words.
_HEADERS = {"stb": "vendor/stb/stb_image.h", "miniaudio": "vendor/miniaudio/miniaudio.h"}
_SUBMODULE = "3rdparty/llama.cpp"  # of microsoft/BitNet
_BEGINS = "This software is available"


def licences(source: Path, to: Path) -> list[tuple[str, Path]]:
    """Names in the image, and files: of llama.cpp in `source`, of what it vendors, and of microsoft/BitNet around it.

    Args:
        to: where those are written that have no file of their own.
    """
    found = []
    if (source / _SUBMODULE).is_dir():
        found = [("bitnet.cpp.txt", source / "LICENSE")]
        source = source / _SUBMODULE
    found += [("llama.cpp.txt", source / "LICENSE")]
    found += [(f"{file.name.removeprefix('LICENSE-')}.txt", file) for file in sorted(source.glob("licenses/LICENSE-*"))]
    found += [(f"{file.parent.name}.txt", file) for file in sorted(source.glob("vendor/**/LICENSE*"))]
    found += _of_headers(source, to)
    return [(name, file) for name, file in found if file.is_file()]


def _of_headers(source: Path, to: Path) -> Iterator[tuple[str, Path]]:
    for name, header in _HEADERS.items():
        text = (source / header).read_text(encoding="utf-8", errors="replace") if (source / header).is_file() else ""
        begin = text.rfind(_BEGINS)
        if begin >= 0:
            to.mkdir(parents=True, exist_ok=True)
            file = to / f"{name}.txt"
            file.write_text(text[begin:], encoding="utf-8")
            yield file.name, file

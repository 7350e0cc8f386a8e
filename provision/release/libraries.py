"""The shared libraries that a program needs and that lie in its own folder: it is no use on a host without them.

What it is linked with stands in its dynamic section, and where the loader looks for that (ld.so(8): DT_RUNPATH, or
DT_RPATH; `$ORIGIN` is the program's folder). What llama.cpp loads later by name (`libggml-cpu-*.so`, `libggml-cuda.so`)
stands nowhere, so all that are in the folder come along.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Beside:
    """The libraries that `binary` brings, by their paths; `astray` is where it looks for them in vain, or empty."""

    binary: str
    files: tuple[str, ...] = ()
    astray: str = ""


def beside(root: Path, binary: str) -> Beside:
    """What has to be shipped with `binary`, a path of the project. Nothing, where it is linked with none of it."""
    folder = (root / binary).parent
    libraries = sorted(path.name for path in folder.glob("*.so*") if path.is_file())
    if not libraries:
        return Beside(binary)
    needed, looks_in = _linked(root / binary)
    if not needed & set(libraries):
        return Beside(binary)
    within = PurePosixPath(binary).parent
    relative = any(place.startswith(("$ORIGIN", "${ORIGIN}")) for place in looks_in)
    astray = "" if relative else next((place for place in looks_in if place.startswith("/")), "the system's folders")
    return Beside(binary, tuple(str(within / name) for name in libraries), astray)


def _linked(file: Path) -> tuple[set[str], list[str]]:
    """The libraries that an ELF program is linked with, and the places where they are looked for."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    tag: Any  # has the attributes that its kind is about
    needed: set[str] = set()
    places: list[str] = []
    try:
        with file.open("rb") as stream:
            for segment in ELFFile(stream).iter_segments("PT_DYNAMIC"):
                assert isinstance(segment, DynamicSegment)  # noqa: S101 - the library makes such of them
                for tag in segment.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        needed.add(tag.needed)
                    elif tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
                        found = tag.runpath if tag.entry.d_tag == "DT_RUNPATH" else tag.rpath
                        places += found.split(":")
    except (OSError, ELFError):  # a script, or nothing: what it is gets judged with the other files
        pass
    return needed, places

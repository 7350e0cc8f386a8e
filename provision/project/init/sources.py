"""The Python files of a folder, and what their modules are called where the program runs."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NOT_OURS = {"node_modules", "__pycache__", "venv", "env", "site-packages", "build", "dist", "tests", "test", "docs"}
_DEEPEST = 4  # folders; an app further down is not what a person would deploy from here
_LARGEST = 1_000_000  # bytes; a larger Python file is generated


@dataclass(frozen=True)
class Source:
    """A Python file. `folder` is the one of the project that its imports begin in, where PYTHONPATH has to say so."""

    path: Path
    tree: ast.Module
    module: str
    folder: str


def files(directory: Path, suffix: str) -> Iterator[Path]:
    """Files below `directory` that a person may have written, from the top down."""
    for folder, folders, names in os.walk(directory):
        depth = len(Path(folder).relative_to(directory).parts)
        folders[:] = sorted(name for name in folders if depth < _DEEPEST and name not in _NOT_OURS and name[0] != ".")
        # A name that does not print could not be written into the file as it is.
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(suffix) and name.isprintable())


def sources(directory: Path, installed: Path | None) -> Iterator[Source]:
    """Those that this Python can read.

    Args:
        installed: the folder whose modules can be imported anywhere, as those of an installed project.
    """
    for path in files(directory, ".py"):
        if (
            "$" in path.relative_to(directory).as_posix()
        ):  # begins a reference in deploy.toml, and is in no module's name
            continue
        try:
            if path.stat().st_size <= _LARGEST:
                tree = ast.parse(path.read_bytes())
                is_installed = installed is not None and installed in path.parents
                root = installed if installed and is_installed else _root(path, tree, directory)
                folder = "" if is_installed or root == directory else root.relative_to(directory).as_posix()
                yield Source(path, tree, _module(path, root), folder)
        except (SyntaxError, ValueError, RecursionError, OSError):  # of another Python, or none
            continue


def _root(path: Path, tree: ast.Module, directory: Path) -> Path:
    """The folder in which most of what the file imports lies; of several the outermost."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        (node.module or "").split(".")[0] for node in imports if isinstance(node, ast.ImportFrom) and not node.level
    }
    # `from .x` needs a package around the file, `from ..x` one more.
    level = max((node.level for node in imports if isinstance(node, ast.ImportFrom)), default=0)
    folders = [folder for folder in path.parents[level:] if folder.is_relative_to(directory)] or [directory]
    return max(reversed(folders), key=lambda folder: sum(_has(folder, name) for name in names if name))


def _has(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] in ("__init__", "__main__") and len(parts) > 1 else parts)

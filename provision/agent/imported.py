"""Imports what a service begins with, and says what is missing. Runs by itself, as its service would, on its Python.

A module that is run, or a script, would do what it is for: what it imports is imported in its place. What fails
otherwise than for a missing module says nothing: a service may need what it is given only when it is started.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from typing import Iterator, List, Optional


def main(kind: str, name: str) -> None:
    said = None
    try:
        for module in _modules(kind, name):
            importlib.import_module(module)
    except ImportError as error:
        said = {"missing": getattr(error, "name", None) or "", "why": str(error)}
    except BaseException:  # noqa: S110
        pass
    sys.stdout.write("\n" + json.dumps({"imported": said}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # threads that it may have started


def _modules(kind: str, name: str) -> List[str]:
    if kind == "module":
        return [name]
    if kind == "script":
        sys.path[0] = os.path.dirname(os.path.abspath(name))
        return list(_imports(name))
    if kind == "run":
        found = importlib.util.find_spec(name)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if found.submodule_search_locations is not None:
            found = importlib.util.find_spec(name + ".__main__")
            if found is None:
                raise ModuleNotFoundError(f"No module named {name}.__main__", name=name + ".__main__")
        return list(_imports(found.origin)) if found.origin and found.origin.endswith(".py") else []
    return list(_of_command(name))


def _of_command(name: str) -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        for point in distribution.entry_points:
            if point.group == "console_scripts" and point.name == name:
                yield point.value.split(":")[0].strip()
                return


def _imports(path: Optional[str]) -> Iterator[str]:
    with open(path or "", "rb") as stream:
        tree = ast.parse(stream.read())
    for node in tree.body:
        if isinstance(node, ast.Import):
            for each in node.names:
                yield each.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            yield node.module


if __name__ == "__main__":
    main(*sys.argv[1:])

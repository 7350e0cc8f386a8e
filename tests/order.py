"""The order of the tests: what fails fastest comes first."""

from __future__ import annotations

import pytest

# Folder or file of tests/ -> when. Values only, then programs of this machine, then hosts.
_FIRST = ("test_house.py", "project", "release", "manifests")
_LAST = ("hosts", "testbed", "deploy", "cli", "examples", "fresh")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _when(item.nodeid))


def _when(nodeid: str) -> int:
    part = nodeid.split("/")[1].partition("::")[0]
    if part in _FIRST:
        return _FIRST.index(part) - len(_FIRST)
    return 1 + _LAST.index(part) if part in _LAST else 0

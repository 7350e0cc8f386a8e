"""The declarations under `native/`: profiles as CMake presets, and pinned sources."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.errors import UsageError

# In a wheel the folder lies inside the package (pyproject.toml, force-include); in a checkout at its top.
_PACKAGED = Path(__file__).parent / "data"
FOLDER = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "native"

TARGETS = ("llama-server", "llama-cli", "llama-quantize", "llama-bench")


@dataclass(frozen=True)
class Profile:
    """One way to build: CMake variables with a name."""

    name: str
    summary: str
    description: str
    variables: Mapping[str, str]


def profiles() -> dict[str, Profile]:
    """Every profile that can be asked for, by name."""
    presets = {p["name"]: p for p in json.loads((FOLDER / "CMakePresets.json").read_text())["configurePresets"]}
    return {
        name: Profile(name, preset["displayName"], preset["description"], _variables(name, presets))
        for name, preset in presets.items()
        if not preset.get("hidden")
    }


def _variables(name: str, presets: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """cmake-presets(7): a preset has its parents' variables unless it sets them itself; the earlier parent wins."""
    parents = presets[name].get("inherits", [])
    merged: dict[str, str] = {}
    for parent in reversed([parents] if isinstance(parents, str) else parents):
        merged |= _variables(parent, presets)
    own: dict[str, str] = presets[name].get("cacheVariables", {})
    return merged | own


def profile(name: str) -> Profile:
    """The profile called `name`.

    Raises:
        UsageError: there is none; names the nearest.
    """
    known = profiles()
    if name not in known:
        raise UsageError(f'no build profile is called "{name}"', why=_nearest(name, list(known)))
    return known[name]


def check_targets(targets: list[str]) -> None:
    """Refuse names that are not among `TARGETS`.

    Raises:
        UsageError: names the first unknown one and the nearest known one.
    """
    for target in targets:
        if target not in TARGETS:
            raise UsageError(f'no binary is called "{target}"', why=_nearest(target, list(TARGETS)))


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f'Did you mean "{near[0]}"? ' if near else "") + f"There are: {', '.join(known)}."


def pinned(name: str) -> dict[str, Any]:
    """The entry `name` of sources.json."""
    entry: dict[str, Any] = json.loads((FOLDER / "sources.json").read_text())[name]
    return entry

"""Ready services, as data: `presets.toml` beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def presets() -> Mapping[str, dict[str, Any]]:
    """Every preset by name, written as a service is written in `deploy.toml`."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def with_preset(service: Any) -> Any:
    """`service`, as read from the file, with the keys of the preset that it names.

    A key of its own replaces the preset's, and `binary` its `engine`; `env` is merged, variable by variable. What is
    not a table, or names no known preset, is given back as it is: judging it is another's task.
    """
    if not isinstance(service, dict) or not isinstance(service.get("preset"), str):
        return service
    preset = dict(presets().get(service["preset"], {}))
    if "binary" in service:
        preset.pop("engine", None)  # a program of one's own is one
    by_size = preset.pop("by_size", {})
    with_model = preset.pop("with_model", {})
    if service.get("model"):
        env = {**preset.get("env", {}), **with_model.get("env", {})}
        preset = {**preset, **with_model, "env": env}
    resources = {**preset, **service}.get("resources")
    size = resources.get("size") if isinstance(resources, dict) else None
    own_env = service.get("env", {})
    if isinstance(own_env, dict):
        own_env = {**preset.get("env", {}), **(by_size.get(size, {}) if isinstance(size, str) else {}), **own_env}
    return {**preset, **service, "env": own_env}

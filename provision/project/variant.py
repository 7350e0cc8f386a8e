"""One service of a project, declared otherwise: what `deploy bench --try` brings to a place of its own. Pure.

It is judged as if the file said so. Left out is what tries nothing: other services but those that it waits for, hooks,
and what runs once for a release; and its limits, for one that is slow is to be seen and not refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject

# What can be tried -> the option of llama-server's that says it; without one it is a key of the service.
TRIED: Mapping[str, str] = {"threads": "", "model": "", "draft": "", "context": "--ctx-size", "parallel": "--parallel"}
NONE = "none"  # of a draft
_BRIEF = {"prompt": 8, "generate": 2}  # of the bench that starts it: what counts is measured afterwards


def variant(loaded: LoadedProject, target: str, service: str, change: Mapping[str, str]) -> LoadedProject:
    """The project with `service` alone, changed.

    Args:
        change: of `TRIED`, what each is.

    Raises:
        DeclarationError: it can't be declared so.
    """
    from provision.project.loading import load_project  # what it needs is heavy for a shell that completes a word
    from provision.project.presets import with_preset

    written: dict[str, Any] = deepcopy(loaded.declaration.values)
    kept = _closure(loaded, service)
    services = {name: each for name, each in written["services"].items() if name in kept}
    services[service] = _changed(with_preset(services[service]), change)
    used = {each.get(key) for each in services.values() for key in ("model", "draft", "mmproj")}
    models = {name: each for name, each in written.get("models", {}).items() if name in used}
    written |= {"services": services, "models": models, "checks": {}, "once": {}, "hooks": {}}
    written["targets"] = {target: {**written["targets"][target], "services": sorted(kept)}}
    found = load_project(
        loaded.root,
        replace(loaded.declaration, values={key: each for key, each in written.items() if each != {}}),
        loaded.environment,
        loaded.root / ".env",
        target=target,
        without_targets=False,
        demand_secrets=False,
        ask_commands=False,
    )
    return replace(found, secrets=loaded.secrets)


def _closure(loaded: LoadedProject, service: str) -> set[str]:
    """It, and those that it waits for."""
    kept, waiting = set[str](), [service]
    while waiting:
        kept.add(name := waiting.pop())
        waiting += [other for other in loaded.project.services[name].after if other not in kept]
    return kept


def _changed(declared: dict[str, Any], change: Mapping[str, str]) -> dict[str, Any]:
    found = {**declared, "switch": "in-place", "replicas": 1}
    found["checks"] = [_unlimited(check) for check in found.get("checks", [])]
    if "check" in found:
        found["check"] = _unlimited(found["check"])
    for key, value in change.items():
        if option := TRIED[key]:
            found["args"] = [*found.get("args", []), option, value]
        elif value == NONE:
            found.pop(key, None)
        else:
            found[key] = int(value) if value.isdecimal() else value
    return found


def _unlimited(check: Any) -> Any:
    """The check, without limits of speed."""
    return {**check, "bench": _BRIEF} if isinstance(check, dict) and "bench" in check else check

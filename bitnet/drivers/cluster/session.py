"""Ray's own start and stop, and names of resources in its terms."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import ray

# Still in the signature of `ray.init`, and an error or without effect when given.
_REMOVED = {"local_mode": "tasks run on a real cluster of this machine instead"}


def accepted(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that today's `ray.init` takes; a warning names each that is left out."""
    known = inspect.signature(ray.init).parameters
    taken = {}
    for name, value in given.items():
        if name in known and name not in _REMOVED:
            taken[name] = value
        else:
            effect = _REMOVED.get(name, "it is left out")
            warnings.warn(
                f"init_kwargs[{name!r}]: Ray {ray.__version__} no longer takes it; {effect}",
                RuntimeWarning,
                stacklevel=2,
            )
    return taken


def join(init_kwargs: Mapping[str, Any]) -> None:
    """Connect to Ray, or start it; a session that this process has already is used as it is."""
    taken = accepted(init_kwargs)
    if not ray.is_initialized():
        ray.init(**{"log_to_driver": False, "include_dashboard": False, **taken})


def actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """What a worker holds, in the terms of `ray.remote`: `cpu`, `gpu` and `memory` (bytes) are Ray's own, any other
    is a custom resource of the cluster."""
    own = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {own[name]: amount for name, amount in resources.items() if name in own}
    options.setdefault("num_cpus", 0)  # a worker waits for programs; it computes nothing itself
    custom = {name: amount for name, amount in resources.items() if name not in own}
    if custom:
        options["resources"] = custom
    return options

"""What small, medium and large mean: about 10, 50 and 200 requests at a time for a 2B ternary model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.project.parts import Resources

GB = 10**9
SIZES = {"small": (4 * GB, 2.0), "medium": (8 * GB, 4.0), "large": (16 * GB, 8.0)}  # memory, cores


def sized(resources: Resources) -> Resources:
    """`resources` with what its size gives and it does not say itself."""
    if resources.size is None:
        return resources
    memory, cpus = SIZES[resources.size]
    return resources.model_copy(update={"memory": resources.memory or memory, "cpus": resources.cpus or cpus})

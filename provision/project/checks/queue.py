"""`queue`: the container's worker has registered in Temporal. Images alone declare it."""

from __future__ import annotations

from provision.project.checks.kind import InImage

IN_IMAGE = InImage(
    "the name of a task queue",
    lambda value: isinstance(value, str) and value != "",
    lambda name: {"queue": name},
)

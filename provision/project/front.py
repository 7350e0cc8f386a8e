"""What a target declares of the one front that leads to its machines."""

from __future__ import annotations

from typing import Literal

from provision.project.section import Section
from provision.project.values import Name


class Front(Section):
    """The target whose hosts lead to these; theirs then admit nobody else at services' ports, over TLS."""

    target: Name
    """That target: it has traffic, and these services none of its own programs."""
    repeat: Literal["safe", "any"] = "safe"
    """Which requests are asked of another machine where one breaks off before it has begun to answer: "safe" those that
    may be asked twice (GET, HEAD, OPTIONS, PUT, DELETE), "any" also POST, as of a model's answers."""

"""A front as HAProxy's configuration (2.6 and later). Pure; whatever a user declared stands in it as a value."""

from __future__ import annotations

from .values import Front


def render(front: Front) -> str:
    """The configuration. It says states and shares too, so that a restart changes nothing.

    Raises:
        Failure: a value is none that HAProxy could hold, such as a name with a line break.
    """
    raise NotImplementedError


def structure(front: Front) -> str:
    """A digest of all that needs a reload to change: fronts of one structure differ in states, shares and holding."""
    raise NotImplementedError

"""Who rents out machines, one module each behind `face.Provider`. How one is added: CONTRIBUTING.md, "A provider"."""

from __future__ import annotations

from collections.abc import Mapping

from provision.providers.api import Clock
from provision.providers.face import Provider


def provider(name: str, environ: Mapping[str, str], clock: Clock | None = None) -> Provider:
    """The provider of that name, with the account whose key is in `environ` or where its own tools keep it.

    Raises:
        UsageError: there is no key.
    """
    from provision.providers import vast  # brings an HTTP library

    return {"vast": vast.provider}[name](environ, clock)

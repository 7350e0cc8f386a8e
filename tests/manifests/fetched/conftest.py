"""The Hub of the tests of models."""

from tests.models.conftest import environ, hub

__all__ = ["environ", "hub"]

"""Fixtures of every test, and their order."""

from tests.order import pytest_collection_modifyitems
from tests.testbed.fixtures import make_host, place, slot, supervisord_host, systemd_host

__all__ = ["make_host", "place", "pytest_collection_modifyitems", "slot", "supervisord_host", "systemd_host"]

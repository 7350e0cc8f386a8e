"""Fixtures of every test."""

from tests.testbed.fixtures import make_host, place, slot, supervisord_host, systemd_host

__all__ = ["make_host", "place", "slot", "supervisord_host", "systemd_host"]

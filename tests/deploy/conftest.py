"""A world on each platform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.world import World
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

MakeWorld = Callable[..., World]


@pytest.fixture(params=["supervisord", "systemd"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(platform: str, request: pytest.FixtureRequest) -> TestHost:
    """The shared host of the platform."""
    host: TestHost = request.getfixturevalue(f"{platform}_host")
    return host


@pytest.fixture
def world(platform: str, host: TestHost, place: Place, tmp_path: Path) -> World:
    """A project on the shared host of each platform; removed from it afterwards by nobody: places differ."""
    # Program names are plain under supervisord, so worlds that share a host tell theirs apart by a prefix.
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"} if platform == "supervisord" else {}
    return World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)

"""Trials on the shared host of each platform."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.conftest import host, platform, world
from tests.deploy.world import World
from tests.faults.trial import Trial
from tests.testbed import TestHost
from tests.testbed import fixtures as testbed

__all__ = ["host", "platform", "world"]


@pytest.fixture(scope="module", params=["supervisord", "systemd"])
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Two versions on a host, shared by a file's tests: each leaves one of them serving, whole."""
    shared: TestHost = request.getfixturevalue(f"{request.param}_host")
    place = testbed.Place(next(testbed._PLACES))
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"} if request.param == "supervisord" else {}
    folder = tmp_path_factory.mktemp("trial")
    made = Trial(World(folder / "project", shared, request.param, place.path, place.port(), place.name, target=target))
    made.prepare()
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a `sampled` test the normal run has each case on one platform, in turn; the slow run has the others."""
    cases: dict[tuple[object, ...], int] = {}
    for item in items:
        if item.get_closest_marker("sampled") and isinstance(item, pytest.Function):
            values = {str(value) for value in item.callspec.params.values()}
            platform = next(index for index, name in enumerate(("supervisord", "systemd")) if name in values)
            case = cases.setdefault(
                (item.path, item.originalname, *sorted(values - {"supervisord", "systemd"})), len(cases)
            )
            if (case + platform) % 2:
                item.add_marker(pytest.mark.slow)

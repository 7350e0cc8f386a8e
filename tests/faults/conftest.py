"""Trials on the shared host of each platform, and on one with an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.deploy.conftest import host, platform, world
from tests.deploy.docker_host import engine_on_a_host
from tests.deploy.world import World
from tests.faults.trial import Trial
from tests.testbed import fixtures as testbed
from tests.testbed.slots import Slot

__all__ = ["host", "platform", "world"]


_TWO = ("supervisord", "systemd")
_OF_DOCKER = 6  # containers take longer to come and go: one case in so many


@pytest.fixture(scope="module", params=[*_TWO, "docker"])
def trial(request: pytest.FixtureRequest, slot: Slot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Two versions on a host, shared by a file's tests: each leaves one of them serving, whole."""
    place = testbed.Place(next(testbed._PLACES))
    folder = tmp_path_factory.mktemp("trial")
    with ExitStack() as stack:
        if request.param == "docker":
            engine = stack.enter_context(engine_on_a_host(slot, folder / "registry"))
            shared, project, target = engine.host, {"image": engine.publish()}, {}
        else:
            shared, project = request.getfixturevalue(f"{request.param}_host"), {}
            target = {"name_prefix": f"{place.name}-"} if request.param == "supervisord" else {}
        world = World(folder / "project", shared, request.param, place.path, place.port(), place.name, target=target)
        world.project = project
        made = Trial(world)
        made.prepare()
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a `sampled` test the normal run has each case on one platform, in turn; the slow run has the others."""
    cases: dict[tuple[object, ...], int] = {}
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        values = {str(value) for value in item.callspec.params.values()}
        if not item.get_closest_marker("sampled"):
            if "docker" in values and not item.get_closest_marker("everywhere"):
                item.add_marker(pytest.mark.slow)
            continue
        case = cases.setdefault((item.path, item.originalname, *sorted(values - {*_TWO, "docker"})), len(cases))
        if "docker" in values:
            slow = case % _OF_DOCKER != 0
        else:
            slow = bool((case + next(index for index, name in enumerate(_TWO) if name in values)) % 2)
        if slow:
            item.add_marker(pytest.mark.slow)

"""What a person does who is new to it: an app of their own in a folder, `deploy init`, `deploy up`."""

from __future__ import annotations

import contextlib
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.newcomer import Newcomer, index
from tests.testbed import TestHost

pytestmark = pytest.mark.root

MakeNewcomer = Callable[..., Newcomer]


@pytest.fixture
def newcomer() -> Iterator[MakeNewcomer]:
    """Under a short path, because a sandbox has sockets in it."""
    with contextlib.ExitStack() as stack:

        def make(host: TestHost | None = None) -> Newcomer:
            person = Newcomer(Path(tempfile.mkdtemp(prefix="new-")), host)
            stack.callback(person.leave)
            return person

        yield make


@pytest.mark.parametrize(
    ("kind", "user", "target"),
    [
        ("supervisord", "root", {"platform": "supervisord", "path": "/workspace/shop"}),
        ("systemd", "root", {"platform": "systemd", "path": "/workspace/shop"}),
        ("systemd", "ann", {"platform": "systemd", "path": "/home/ann/shop", "user_units": True}),
    ],
)
def test_init_asks_the_host_what_starts_programs_there(
    newcomer: MakeNewcomer, kind: str, user: str, target: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    host: TestHost = request.getfixturevalue(f"{kind}_host")
    person = newcomer(host)

    said = person.init(user)

    assert "could not be looked at" not in said
    written = tomllib.loads((person.folder / "deploy.toml").read_text())
    assert written["targets"]["host"] == {**target, "hosts": [f"{user}@{host.address}"], "traffic": {}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "supervisord", "systemd"])
@pytest.mark.parametrize("wheels", ["host", "ship"])
def test_an_app_with_pandas_is_up_after_two_commands_and_so_is_a_changed_line(
    newcomer: MakeNewcomer, kind: str, wheels: str, request: pytest.FixtureRequest
) -> None:
    host: TestHost | None = request.getfixturevalue(f"{kind}_host") if kind else None
    person = newcomer(host)
    with index(host) if host and wheels == "host" else contextlib.nullcontext():
        person.init("root", "--wheels", wheels)
        person.deploy("up")

    assert person.answer()["total"] == 15
    pinned = (person.folder / "deploy.lock").read_text()
    assert f"pandas=={person.answer()['pandas']}" in pinned
    person.change_a_line()
    person.deploy("up")  # for which no index has to be there

    assert person.answer()["line"] == "second"
    assert (person.folder / "deploy.lock").read_text() == pinned

"""Registries, and repositories in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.images.registry.reference import parse
from provision.images.registry.repository import Repository, connect
from tests.images.faulty import Faulty, faulty
from tests.images.registry import Registry, registry

_count = itertools.count()


_ROUTES = {"fallback tag": False, "referrers route": True}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is about evidence is tried with both kinds of registry, but where a test says that it is about one."""
    if "referrers_route" in metafunc.fixturenames and metafunc.definition.get_closest_marker("registry") is not None:
        kinds = metafunc.definition.get_closest_marker("registry").args or tuple(_ROUTES)
        metafunc.parametrize("referrers_route", [_ROUTES[kind] for kind in kinds], ids=kinds, indirect=True)


@pytest.fixture(scope="session")
def referrers_route(request: pytest.FixtureRequest) -> bool:
    """Whether registries list themselves what points at an image; Debian's does not."""
    return getattr(request, "param", False)


@pytest.fixture(scope="session")
def plain(referrers_route, tmp_path_factory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("plain"), referrers=referrers_route) as found:
        yield found


@pytest.fixture(scope="session")
def locked(referrers_route, tmp_path_factory) -> Iterator[Registry]:
    """Wants a login, and has a certificate of an authority that only `REGISTRY_CA` knows."""
    with registry(tmp_path_factory.mktemp("locked"), login=True, tls=True, referrers=referrers_route) as found:
        yield found


@pytest.fixture(scope="session")
def other(referrers_route, tmp_path_factory) -> Iterator[Registry]:
    """Like `plain`, and of the other kind."""
    with registry(tmp_path_factory.mktemp("other"), referrers=not referrers_route) as found:
        yield found


@pytest.fixture
def proxy(plain) -> Iterator[Faulty]:
    with faulty(plain.authority) as found:
        yield found


@pytest.fixture(autouse=True)
def seen_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this machine saw in registries, as somebody who saw none: their ports and names come again."""
    file = tmp_path / "seen.json"
    monkeypatch.setenv("DEPLOY_SEEN", str(file))
    return file


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder as it was cloned, and the one we are in, of somebody without keys and logins."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    for variable in ("DEPLOY_EVIDENCE_KEY", "REGISTRY_TOKEN", "REGISTRY_CA", "GITHUB_ACTIONS"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of somebody who never logged in anywhere."""
    return {"DOCKER_CONFIG": str(tmp_path / "no-docker"), "PATH": ""}


Open = Callable[..., Repository]


@pytest.fixture
def name() -> str:
    """A repository that no other test has."""
    return f"team/app-{next(_count)}"


@pytest.fixture
def repository(plain: Registry, name: str) -> Repository:
    return connect(parse(f"{plain.authority}/{name}"), write=True, environ=plain.environ)


@pytest.fixture
def behind(proxy: Faulty, name: str, environ: dict[str, str]) -> Repository:
    """The same repository as `repository`, seen through `proxy`."""
    return connect(parse(f"{proxy.authority}/{name}"), write=True, environ=environ)

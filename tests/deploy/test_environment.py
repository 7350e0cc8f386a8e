"""A Python environment: made once on a host, linked by releases, first on the PATH of all that runs in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError
from tests.deploy.world import World
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

# Serves what it can import, and what it is.
APP = """\
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
import idna
import shop.words

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"version": os.environ["VERSION"], "prefix": sys.prefix, "word": shop.words.WORD,
                "from": shop.words.__file__, "idna": idna.__version__, "shop": version("shop")}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

def main():
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PYPROJECT = """\
[project]
name = "shop"
version = "1.2"
requires-python = ">=3.8"
dependencies = ["idna==3.10"]
scripts = { shop-serve = "shop.main:main" }
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.fixture
def platform() -> str:
    return "supervisord"


def shop(world: World, word: str, version: str = "1") -> None:
    """A project in a src layout, with a console script."""
    package = world.folder / "src" / "shop"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "main.py").write_text(APP)
    (package / "words.py").write_text(f"WORD = {word!r}\n")
    (world.folder / "pyproject.toml").write_text(PYPROJECT)
    service = {
        "command": ["shop-serve", "${port}"],
        "port": world.port,
        "env": {"VERSION": version},
        "check": {"http": "/", "timeout": "15s", "interval": "50ms"},
    }
    world.declare({"web": service}, python={"project": ".", "wheels": "ship"})


def test_a_console_script_of_a_src_layout_runs_each_release_s_own_modules(world: World) -> None:
    shop(world, "first")
    world.up()
    first = world.get()
    shop(world, "second", "2")
    world.up()
    second = world.get()

    assert (first["word"], second["word"]) == ("first", "second")
    assert second["from"] == f"{world.path}/releases/{world.stable}/src/shop/words.py"
    assert (second["idna"], second["shop"]) == ("3.10", "1.2")


SERVES = """\
import idna, runpy, sys
sys.argv[1:] = ["--bind", "127.0.0.1", sys.argv[1]]
runpy.run_module("http.server", run_name="__main__")
"""


def app(world: World, code: str = SERVES, requirements: str = "idna==3.10\n", **more: Any) -> None:
    """A project without a pyproject.toml; the host has no index."""
    (world.folder / "requirements.txt").write_text(requirements)
    (world.folder / "app.py").write_text(code)
    service = {
        "command": ["python", "app.py", "${port}"],
        "port": world.port,
        "check": {"http": "/", "timeout": "15s", "interval": "50ms"},
        **more.pop("service", {}),
    }
    python = {"requirements": "requirements.txt", "wheels": "ship", **more.pop("python", {})}
    world.declare({"web": service}, python=python, **more)


def environments(world: World) -> list[str]:
    """The ids of those on the host, besides the uv that made them."""
    listed = world.host.exec(["ls", f"{world.path}/shared/environments"]).stdout.split()
    return [name for name in listed if not name.startswith("sha256-")]


def serves(world: World) -> bool:
    asked = ["curl", "-fsS", "-m", "5", f"http://127.0.0.1:{world.port}/"]
    return world.host.exec(asked, check=False).returncode == 0


def steps(world: World) -> list[str]:
    return [event["step"] for event in world.events if event["event"] == "step"]


@pytest.mark.slow
def test_an_unchanged_lock_makes_nothing_and_asks_nothing_more(world: World) -> None:
    app(world)
    first = world.up()
    app(world, SERVES + "# another line\n")
    changed = world.up()
    again = world.up()

    assert "environment" in first.round_trips
    assert "environment" not in changed.round_trips
    assert again.outcome == "unchanged"
    assert len(environments(world)) == 1


@pytest.mark.slow
def test_it_is_first_on_the_path_of_services_checks_the_prepare_step_and_exec(world: World) -> None:
    which = "command -v python"
    app(
        world,
        service={
            "check": {"command": ["sh", "-c", f"{which}; python -c 'import idna'"], "timeout": "15s"},
            "warm": {"command": ["python", "-c", "import idna"], "timeout": "15s"},
        },
        prepare={"command": ["sh", "-c", f"{which} > made/python; python -c 'import idna'"], "outputs": ["made"]},
    )
    world.up()

    release = f"{world.path}/releases/{world.stable}"
    prepared = world.host.read(f"{release}/made/python").decode().strip()
    checked = next(event for event in world.events if event["event"] == "check")
    assert prepared == f"{world.path}/shared/environments/{environments(world)[0]}/bin/python"
    assert checked["facts"]["output"].splitlines()[0] == f"{release}/.venv/bin/python"
    reading, writing = os.pipe()
    assert rollout.execute(world.deployment(), ["sh", "-c", f"{which}; python -c 'import idna'"], output=writing) == 0
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read().strip() == f"{release}/.venv/bin/python"


@pytest.mark.parametrize("switch", [pytest.param("beside", marks=pytest.mark.slow), "in-place"])
def test_a_missing_module_is_named_before_anything_is_disturbed(world: World, switch: str) -> None:
    app(world, service={"switch": switch})
    world.up()
    before = world.stable, world.pid("web")
    app(world, "import pandas\n" + SERVES, service={"switch": switch})

    with pytest.raises(DeployError, match="web can't start: No module named 'pandas', in the environment"):
        world.up()

    assert (world.stable, world.pid("web")) == before
    assert serves(world)


@pytest.mark.slow
def test_under_sudo_it_is_made_by_root_and_run_by_the_service_s_own_account(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    host = make_host(Kind.SYSTEMD, sudo=True)
    target = {"sudo": True}
    world = World(tmp_path / "project", host, "systemd", place.path, place.port(), place.name, target=target)
    world.user = "ann"
    app(world, service={"user": "www-data"})

    world.up(ask=lambda _: "annspassword")
    app(world, requirements="idna==3.9\n", service={"user": "www-data"})
    world.up(ask=lambda _: "annspassword")

    assert serves(world)
    assert len(environments(world)) == 2
    owners = host.exec(
        ["stat", "-c", "%U", *(f"{world.path}/shared/environments/{each}" for each in environments(world))]
    )
    assert set(owners.stdout.split()) == {"root"}


@pytest.mark.slow
def test_where_the_host_brings_every_package_one_that_it_lacks_is_named_as_well(world: World) -> None:
    app(world, service={"command": ["python3", "app.py", "${port}"]})
    text = (world.folder / "deploy.toml").read_text()
    text = text.replace('requirements = "requirements.txt"\n', "").replace('wheels = "ship"', 'source = "host"')
    (world.folder / "deploy.toml").write_text(text)

    with pytest.raises(DeployError, match="No module named 'idna', in the host's /usr/bin/python3"):
        world.up()

    assert not world.exists("shared/environments")


@pytest.mark.slow
def test_what_cannot_be_installed_leaves_the_old_release_serving_and_says_why(world: World) -> None:
    app(world)
    world.up()
    app(
        world,
        requirements="idna==3.9\n",
        python={"wheels": "host", "secrets": ["UV_HTTP_RETRIES"]},
        env="UV_HTTP_RETRIES=0\n",
    )

    with pytest.raises(DeployError, match="uv pip sync ended with status") as failed:
        world.up()

    assert any("idna" in line for line in failed.value.log)
    assert 'wheels = "ship"' in failed.value.next_step
    assert serves(world)
    assert "start" not in steps(world)
    assert len(environments(world)) == 1


@pytest.mark.slow
def test_it_is_read_only_and_goes_with_the_last_release_that_had_it(world: World) -> None:
    app(world)
    world.up()
    (first,) = environments(world)
    found = ["find", f"{world.path}/shared/environments/{first}", "-perm", "/222", "!", "-type", "l"]
    assert world.host.exec(found).stdout == ""

    for at in range(5):  # of which three stay
        app(world, SERVES + f"# {at}\n", "idna==3.9\n")
        world.up()

    assert first not in environments(world)
    assert serves(world)

"""A Python environment: made once on a host, linked by releases, first on the PATH of all that runs in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.world import World

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

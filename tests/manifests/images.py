"""Images built as people build them: BuildKit, from what is rendered, without a network.

The base stands in for python:3.12-slim: Debian with pip, and with every package that these builds ask for beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pip
from docker.models.containers import Container
from docker.models.images import Image

from tests.testbed.docker import Engine
from tests.testbed.rootfs import PYTHON as BASE_PYTHON
from tests.testbed.rootfs import cache

PYTHON = "python-base:1"
# Debian's, which has the engine's own BuildKit frontend.
_DOCKER = "/usr/bin/docker"
_CONFINED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}

_BASE = """\
FROM {base}
COPY pip /usr/lib/python3/dist-packages/pip
COPY wheels /wheels
COPY --chmod=755 run-pip /usr/local/bin/pip
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_BREAK_SYSTEM_PACKAGES=1 UV_OFFLINE=1 UV_FIND_LINKS=/wheels
"""
# As `uv lock` writes it of a project with one package, from a folder of wheels.
_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "greeting"
version = "1.0"
source = {{ registry = "/wheels" }}
wheels = [
    {{ path = "greeting-1.0-py3-none-any.whl", hash = "sha256:{digest}" }},
]

[[package]]
name = "shop"
version = "1.0"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "greeting" }},
]

[package.metadata]
requires-dist = [{{ name = "greeting" }}]
"""


def make_base(engine: Engine, base: str, packages: list[str], folder: Path) -> None:
    """The base of the two, out of `base`; `packages` as pip takes them."""
    shutil.copytree(_fetched(packages), folder / "wheels")
    greeting(folder / "wheels")
    shutil.copytree(Path(pip.__file__).parent, folder / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "run-pip").write_text('#!/bin/sh\nexec python3 -m pip "$@"\n')
    (folder / "Dockerfile").write_text(_BASE.format(base=base))
    build(engine, folder, PYTHON)


def _fetched(packages: list[str]) -> Path:
    """Their wheels, and those of what they need; from PyPI once, then from the test bed's cache."""
    recipe = "\0".join([BASE_PYTHON, *packages])
    place = cache() / f"wheels-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as unfinished:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
            download += ["--python-version", BASE_PYTHON]
            subprocess.run([*download, "--dest", f"{unfinished}/wheels", *packages], check=True)
            Path(unfinished, "wheels").rename(place)
    return place


def greeting(folder: Path) -> Path:
    """A wheel of one module, the same bytes each time."""
    info = "greeting-1.0.dist-info"
    files = {
        "greeting.py": 'WORDS = "hello from a package"\n',
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    place = folder / "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return place


def greeting_digest(folder: Path) -> str:
    return hashlib.sha256(greeting(folder.parent).read_bytes()).hexdigest()


def lock_project(folder: Path) -> None:
    """A project that needs that package, and has it locked."""
    (folder / "uv.lock").write_text(_LOCK.format(digest=greeting_digest(folder)))
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = ["greeting"]\n'
    )


def build(engine: Engine, context: Path, tag: str, *, file: str = "Dockerfile", target: str = "") -> Image:
    """`docker build`; the base's name in `file` is the test's own."""
    dockerfile = context / file
    dockerfile.write_text(re.sub(r"(?m)^FROM python:\S+", f"FROM {PYTHON}", dockerfile.read_text()))
    command = [_DOCKER, "build", "--progress=plain", "--tag", tag, "--file", dockerfile, "--build-arg", "REVISION=abc"]
    done = subprocess.run(
        [*command, *(["--target", target] if target else []), context],
        env={"PATH": os.environ["PATH"], "HOME": str(context), "DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return engine.client.images.get(tag)


def run(engine: Engine, image: Image, command: list[str] | None = None, **options: object) -> Container:
    """A container as confined as ours are."""
    env = options.pop("environment", {})
    assert isinstance(env, Mapping)
    return engine.client.containers.run(image, command, detach=True, environment=dict(env), **_CONFINED, **options)

"""What a real Docker Engine makes of the files, through Compose and as a builder."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from provision.manifests import compose, dockerfile
from tests.manifests.compose.composer import DOCKER_COMPOSE
from tests.manifests.kubernetes.projects import IMAGE, project
from tests.manifests.projects import dollars_doubled
from tests.manifests.values import batches, examples, texts
from tests.testbed.docker import Engine
from tests.testbed.slots import Slot

pytestmark = pytest.mark.root

TELL = """\
import json, os, sys
env = {name.decode(): value.hex() for name, value in os.environb.items()}
print(json.dumps({"argv": [os.fsencode(word).hex() for word in sys.argv[1:]], "env": env, "user": os.getuid()}))
"""
BATCHES = 20
IN_ONE = 5  # batches in one container, which costs as much as a hundred values more
BASE = "base:1"
NOWHERE = Path("/nonexistent")


@pytest.fixture(scope="module")
def engine(slot: Slot) -> Iterator[Engine]:
    engine = Engine(slot)
    try:
        engine.take_base(BASE)
        yield engine
    finally:
        engine.destroy()


@pytest.fixture(scope="module")
def values() -> list[list[str]]:
    """By container."""
    drawn: list[list[str]] = []

    @given(batches(texts()))
    @examples(BATCHES)
    def draw(batch: list[str]) -> None:
        drawn.append(batch)

    draw()
    return [list(chain.from_iterable(drawn[at : at + IN_ONE])) for at in range(0, BATCHES, IN_ONE)]


def told(engine: Engine, name: str) -> dict[str, Any]:
    """What the container of a service saw."""
    container = engine.client.containers.get(f"cres-{name}-1")
    assert container.wait()["StatusCode"] == 0, container.logs()
    found = json.loads(container.logs())
    found["argv"] = [bytes.fromhex(word).decode() for word in found["argv"]]
    found["env"] = {variable: bytes.fromhex(value).decode() for variable, value in found["env"].items()}
    return found  # type: ignore[no-any-return]


def test_every_value_arrives_in_its_container_byte_for_byte(
    engine: Engine, values: list[list[str]], tmp_path: Path
) -> None:
    services: dict[str, Any] = {}
    for number, batch in enumerate(values):
        names = [f"S{number}_{at}" for at in range(len(batch))]
        services[f"s{number}"] = {
            "command": ["python3", "-I", "-S", "-c", TELL, *map(dollars_doubled, batch)],
            "env": {f"V{at}": dollars_doubled(value) for at, value in enumerate(batch)},
            "secrets": names,
            "batch": True,
        }
        for name, value in zip(names, batch, strict=True):
            secret = tmp_path / "secrets" / name
            secret.parent.mkdir(exist_ok=True)
            secret.write_bytes(value.encode())
            secret.chmod(0o444)  # user 10001 of a container is nobody here
    text = compose.files(project(services), None, NOWHERE)["compose.yaml"]
    # An image that nobody pulled has no digest of a registry's.
    (tmp_path / "compose.yaml").write_text(text.replace(f'"{IMAGE}"', BASE))
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [DOCKER_COMPOSE, "up", "--detach"],
        cwd=tmp_path,
        env={"DOCKER_HOST": engine.url, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    for number, batch in enumerate(values):
        saw = told(engine, f"s{number}")
        assert saw["user"] == 10001
        assert saw["argv"] == batch
        assert [saw["env"][f"V{at}"] for at in range(len(batch))] == batch
        assert [saw["env"][f"S{number}_{at}"] for at in range(len(batch))] == batch


def test_a_built_image_is_told_its_command_byte_for_byte(
    engine: Engine, values: list[list[str]], tmp_path: Path
) -> None:
    words = ["run", *chain.from_iterable(values)]
    service = {
        "command": [dollars_doubled(word) for word in words],
        "port": 8000,
        "check": {"http": "/it's $$5"},
        "volumes": {"data": {"path": "/srv/cres/data", "size": "1GiB"}},
    }
    text = dockerfile.files(project({"web": service}), None, tmp_path)["Dockerfile"]
    # The base of the tests has no pip to make an environment with, and no digest of a registry's.
    text = re.sub(r"(?m)^FROM python:\S+", f"FROM {BASE}", text.replace("python3 -m venv", "mkdir"))
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "main.py").write_text("")

    image, _ = engine.client.images.build(path=str(tmp_path), target="web", buildargs={"REVISION": "abc"})

    config = image.attrs["Config"]
    assert config["Entrypoint"] == words
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/srv/cres"
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "python3", "-c"]
    assert "http://127.0.0.1:8000/it's $5" in config["Healthcheck"]["Test"][3]
    owners = engine.client.containers.run(
        image, entrypoint=["stat", "-c", "%n %u"], command=["main.py", "data"], remove=True
    )
    assert owners == b"main.py 0\ndata 10001\n"

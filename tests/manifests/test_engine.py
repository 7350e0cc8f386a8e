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
from provision.manifests.serverless import aws
from provision.project.python import Python
from tests.manifests import images
from tests.manifests.compose.composer import docker_compose
from tests.manifests.kubernetes.projects import IMAGE, project
from tests.manifests.projects import dollars_doubled, service
from tests.manifests.projects import project as placed
from tests.manifests.serverless.project import CRES, parsed, write_code
from tests.manifests.serverless.runtime_api import RuntimeApi
from tests.manifests.values import batches, examples, texts
from tests.testbed.docker import Engine
from tests.testbed.rootfs import debian
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
TEMPLATES = Path(__file__).parents[2] / "templates" / "dockerfile"


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
        [docker_compose(), "up", "--detach"],
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


@pytest.fixture(scope="module")
def python_base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the two below are built from, with the packages that their Dockerfiles name."""
    named = {"uv": ("uv.j2", "UV"), "awslambdaric": ("lambda.j2", "RUNTIME")}
    versions = {
        package: re.findall(rf"(?m)^ARG {argument}_VERSION=(.+)$", (TEMPLATES / file).read_text())[0]
        for package, (file, argument) in named.items()
    }
    packages = [f"{package}=={version}" for package, version in versions.items()]
    images.make_base(engine, BASE, packages, tmp_path_factory.mktemp("base"))
    return images.PYTHON


SERVER = """\
import http.server, sys
import greeting
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(greeting.WORDS.encode())
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


def laid(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("lock", ["uv.lock", "deploy.lock"])
def test_an_image_of_a_locked_project_runs_its_app_and_is_healthy(
    engine: Engine, python_base: str, tmp_path: Path, lock: str
) -> None:
    folder = laid(tmp_path / "shop", {"main.py": SERVER, ".env": "TOKEN=hunter2", "deploy.key": "hunter2"})
    images.lock_project(folder)
    command = ["python3", "main.py", "${listen}", "${port}"]
    declared = project({"api": {"command": command, "port": 8000, "check": {"http": "/health"}}})
    if lock == "deploy.lock":
        declared = declared.model_copy(update={"python": Python(project=".")})
        (folder / "uv.lock").rename(folder / "of-the-other.lock")
        (folder / lock).write_text(f"greeting==1.0 --hash=sha256:{images.greeting_digest(folder)}\n")
    laid(folder, dockerfile.files(declared, None, folder))

    image = images.build(engine, folder, "shop:api", target="api")

    container = images.run(engine, image)
    ask = 'for _ in $(seq 300); do "$@" && exit; sleep 0.1; done; exit 1'
    healthy = image.attrs["Config"]["Healthcheck"]["Test"][1:]
    asked = container.exec_run(["sh", "-c", f"({ask}) 2>/dev/null", "ask", *healthy])
    assert asked.exit_code == 0, container.logs()
    get = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000/health').read().decode())"
    assert container.exec_run(["python3", "-c", get]).output == b"hello from a package\n"
    # Neither secrets nor the tools of the build are there, and nothing can be written.
    there = container.exec_run(["sh", "-c", "ls -A; id -u; command -v uv; touch main.py || echo no"]).output.decode()
    assert {".venv", "main.py", lock, "10001", "no"} <= set(there.split())
    assert {".env", "deploy.key", "/usr/local/bin/uv"}.isdisjoint(there.split())


def test_the_image_for_lambda_answers_through_lambda_s_own_client(
    engine: Engine, python_base: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cres"
    write_code(folder)
    images.lock_project(folder)
    laid(folder, {f"lambda/{name}": text for name, text in aws.files(CRES, None, folder).items()})
    properties = parsed((folder / "lambda" / "template.yaml").read_text())["Resources"]["FastapiFunction"]["Properties"]

    image = images.build(engine, folder, "cres:lambda", file="lambda/Dockerfile")

    with RuntimeApi() as api:
        engine.see(api.address)
        variables = {
            **properties["Environment"]["Variables"],
            "LOADS": "/tmp/loads",
            "AWS_LAMBDA_RUNTIME_API": api.address,
        }
        # The network that the relay is in; on Lambda the API is beside the container as well.
        container = images.run(
            engine,
            image,
            properties["ImageConfig"]["Command"],
            environment=variables,
            network_mode="host",
            tmpfs={"/tmp": ""},
        )
        body = json.dumps({"ask": "GREETING"})
        event = {"version": "2.0", "requestContext": {"http": {"method": "POST"}}, "body": body}
        said = api.invoke(event)
        broken = api.invoke({**event, "body": '{"raise": "bug"}'})

        assert (said.where, said.body["statusCode"]) == ("response", 200), container.logs()
        assert json.loads(said.body["body"]) == {"is": "it's 5 $ ; # 100%"}
        assert broken.body["statusCode"] == 500
        assert "hunter2" not in broken.text
        assert container.exec_run(["id", "-u"]).output == b"10001\n"
        container.remove(force=True)


def test_a_store_in_containers_keeps_what_it_has_when_they_are_made_anew(engine: Engine, tmp_path: Path) -> None:
    """The image has no folder for its data, as those of others have none."""
    root = debian("engine-redis", ["redis-server"])
    engine.client.api.import_image_from_file(str(root), repository="redis", tag="1")
    text = compose.files(project({"redis": {"preset": "redis", "image": IMAGE}}), None, NOWHERE)["compose.yaml"]
    (tmp_path / "compose.yaml").write_text(text.replace(f'"{IMAGE}"', "redis:1"))

    def composed(*words: str) -> None:
        environment = {"DOCKER_HOST": engine.url, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [docker_compose(), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def redis(*words: str) -> str:
        container = engine.client.containers.get("cres-redis-1")
        assert container.status == "running", container.logs()
        wait = 'for _ in $(seq 300); do redis-cli ping >/dev/null 2>&1 && exec redis-cli "$@"; sleep 0.1; done; exit 1'
        status, said = container.exec_run(["sh", "-c", wait, "ask", *words])
        assert status == 0, container.logs()
        return str(said.decode().strip())

    composed("up", "--detach")
    assert redis("set", "visits", "7") == "OK"
    composed("down")
    assert engine.client.containers.list(all=True, filters={"name": "cres-redis"}) == []
    composed("up", "--detach")

    assert redis("get", "visits") == "7"
    composed("down", "--volumes")


def test_a_container_of_a_host_that_is_made_anew_finds_its_volumes(engine: Engine, tmp_path: Path) -> None:
    """One in the project's folder, one of the engine; what the agent adds to the request is not needed here."""
    volumes = {"logs": {"path": "${path}/shared/logs/a", "size": "1GiB"}, "keys": {"path": "/keys", "size": "1GiB"}}
    write = 'for place in "$@"; do cat "$place/seen" || echo 1 >"$place/seen"; done; touch /etc/a || echo read-only'
    web = {"command": ["sh", "-c", write, "write", f"{tmp_path}/shared/logs/a", "/keys"], "volumes": volumes}
    declared = placed({"web": {**web, "image": IMAGE}}, path=tmp_path, platform="docker", name_prefix="anew-")
    body = {**json.loads(service(declared, "web")["manifest"]["text"]), "Image": BASE}
    body["HostConfig"]["RestartPolicy"] = {"Name": "no"}  # it ends at once, and is looked at then
    said = []
    for _ in range(2):
        made = engine.client.api.post(engine.client.api._url("/containers/create"), json=body).json()
        container = engine.client.containers.get(made["Id"])
        container.start()
        container.wait()
        said.append(container.logs(stderr=False).decode().split())
        container.remove(v=True, force=True)

    assert said == [["read-only"], ["1", "1", "read-only"]]
    assert (tmp_path / "shared" / "logs" / "a" / "seen").read_text() == "1\n"
    engine.client.volumes.get("anew-cres-web.keys").remove()

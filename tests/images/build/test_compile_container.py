"""Compilers in a container of a real engine: what they see, what they need, and that they end with us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from provision.cli.main import main
from provision.errors import DeployError, UsageError
from provision.images.build import bake
from provision.images.build.compilers import builder_image, compilers
from provision.images.build.context import Parts
from provision.images.build.engine import DockerBuilder
from provision.images.build.image import build as build_image
from provision.images.build.probe import probe
from provision.native import BuildResult, Cache, build
from tests.images.build.make import BASE, COMMIT, REPOSITORY
from tests.native.conftest import Told, commit, write_tiny_llama_cpp
from tests.testbed.docker import Engine
from tests.testbed.rootfs import debian

PINNED = (REPOSITORY / "images/builder/packages.txt").read_text().split()
COMPILERS = "bitnet-test-compilers:1"
DETAILS: dict[str, Any] = {
    "root": REPOSITORY,
    "base": "",
    "revision": COMMIT,
    "version": "1",
    "platform": "linux/amd64",
    "on_event": Told(),
}


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Path:
    """A project whose compilers are the base of the tests as it is: one pinned package, and no compiler."""
    asked = engine.client.containers.create(BASE, ["dpkg-query", "-Wf", "${Package}=${Version}", "python3"])
    asked.start()
    asked.wait()
    shown = asked.logs()  # once it has ended: who follows the log of one so short may get none of it
    asked.remove()
    folder = tmp_path / "project/images/builder"
    folder.mkdir(parents=True)
    (folder / "packages.txt").write_bytes(shown + b"\n")
    return tmp_path / "project"


def test_programs_see_the_cache_at_the_same_path_on_every_machine(
    engine: Engine, project: Path, tmp_path: Path
) -> None:
    cache, lines = tmp_path / "a cache", list[str]()
    (cache / "trees").mkdir(parents=True)

    with compilers(engine.client, BASE, project, cache) as workbench:
        script = ["sh", "-c", 'pwd; echo "$CCACHE_DIR $1"; touch made; exit 3', "sh", f"-I{cache}/sources"]
        status = workbench.run(script, {"CCACHE_DIR": f"{cache}/ccache"}, cache / "trees", lines.append, 0)
        asked = workbench.ask("sh", "-c", "echo out; echo err >&2; exit 4")
        found = workbench.which("no-such-program", "python3")

    assert (status, lines) == (3, ["/cache/trees\n", "/cache/ccache -I/cache/sources\n"])
    assert (asked.returncode, asked.stdout, asked.stderr) == (4, "out\n", "err\n")
    assert found == "/usr/bin/python3"
    assert (cache / "trees/made").stat().st_uid == os.getuid()
    assert "python3" in workbench.packages


def test_the_container_has_no_network_and_ends_with_the_block(engine: Engine, project: Path, tmp_path: Path) -> None:
    with compilers(engine.client, BASE, project, tmp_path / "cache") as workbench:
        interfaces = workbench.ask("ls", "/sys/class/net").stdout.split()
        (container,) = engine.client.containers.list()

    assert interfaces == ["lo"]
    _is_gone(engine, container.id)


def test_the_container_ends_when_whoever_compiles_is_killed(engine: Engine, project: Path, tmp_path: Path) -> None:
    program = f"""
import docker, pathlib
from provision.images.build.compilers import compilers
client = docker.DockerClient(base_url={engine.url!r})
with compilers(client, {BASE!r}, pathlib.Path({str(project)!r}), pathlib.Path({str(tmp_path / "cache")!r})) as box:
    box.run(["sh", "-c", "echo ready; sleep 600"], {{}}, box.cache, lambda line: print(line, flush=True), 0)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (container,) = engine.client.containers.list()

    process.send_signal(signal.SIGKILL)
    process.wait()

    _is_gone(engine, container.id)


def _is_gone(engine: Engine, identity: str | None) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            engine.client.containers.get(identity or "")
        except docker.errors.NotFound:
            return
        time.sleep(0.1)
    raise AssertionError(f"{identity} is still there")


def test_an_image_without_the_pinned_compilers_is_refused_by_package(engine: Engine, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=f"{BASE} is not the builder") as failure,
        compilers(engine.client, BASE, REPOSITORY, tmp_path / "cache"),
    ):
        raise AssertionError("it was taken")

    assert "gcc-12 is missing, pinned is 12.2.0" in failure.value.why


def test_the_image_of_the_compilers_is_made_once_for_what_describes_it(engine: Engine, project: Path) -> None:
    dockerfile = project / "images/builder/Dockerfile"
    dockerfile.write_text("ARG BASE\nFROM ${BASE}\nCOPY packages.txt /\n")
    first, second, other = Told(), Told(), Told()

    made = builder_image(engine.client, project, BASE, first)
    again = builder_image(engine.client, project, BASE, second)
    dockerfile.write_text("ARG BASE\nFROM ${BASE}\nCOPY packages.txt /root/\n")
    changed = builder_image(engine.client, project, BASE, other)

    assert (made == again, made == changed) == (True, False)
    assert [len(told) for told in (first, second, other)] == [1, 0, 1]


def test_an_image_of_compilers_that_cannot_be_made_says_why_and_where_versions_stand(
    engine: Engine, project: Path
) -> None:
    (project / "images/builder/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY no-such-file /\n")

    with pytest.raises(DeployError, match="the image with the compilers could not be made") as failure:
        builder_image(engine.client, project, BASE, Told())

    assert "no-such-file" in failure.value.why
    assert "images/builder/packages.txt" in failure.value.next_step


@pytest.mark.parametrize(
    ("builder", "said"),
    [("docker", f"{BASE} is not the builder"), ("buildah", "compiling in a container needs a Docker Engine")],
)
def test_the_verb_says_what_compiling_in_a_container_needs(
    builder: str, said: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    words = ["--compile", "container", "--builder", builder, "--base", f"builder={BASE}"]

    code = main(["image", "build", "bitnet-cpu-min", "-C", str(REPOSITORY), *words])

    assert code == 2
    assert said in capsys.readouterr().err


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The pinned packages, as images/builder/Dockerfile would install them where a network is."""
    name, _, tag = COMPILERS.partition(":")
    engine.client.api.import_image_from_file(str(debian("builder-base", PINNED)), repository=name, tag=tag)
    return COMPILERS


def _compile(engine: Engine, image: str, cache: Path, out: Path) -> BuildResult:
    with compilers(engine.client, image, REPOSITORY, cache) as workbench:
        return build("min", targets=["llama-server"], cache=Cache(cache), out=out, workbench=workbench)


@pytest.mark.slow
def test_a_small_source_is_compiled_once_and_the_next_container_goes_on_with_its_objects(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    source = write_tiny_llama_cpp(tmp_path / "llama.cpp")
    commit(source)
    told = [Told(), Told(), Told()]
    results = []
    for number, name in enumerate(("one", "a folder of another machine", "one")):
        cache = tmp_path / name
        if number == 2:
            shutil.rmtree(cache / "trees")
            shutil.rmtree(cache / "finished")
        with compilers(engine.client, image, REPOSITORY, cache) as workbench:
            result = build(
                "min",
                targets=["llama-cli"],
                source=source,
                cache=Cache(cache),
                out=tmp_path / str(number),
                workbench=workbench,
                on_event=told[number],
            )
            results.append(result)
            hits = workbench.ask("env", f"CCACHE_DIR={cache}/ccache", "ccache", "--print-stats").stdout

    assert len({result.facts["binaries"]["llama-cli"]["sha256"] for result in results}) == 1
    assert len({result.key for result in results}) == 1
    assert all("compile" in events.phases() for events in told)
    assert "direct_cache_hit\t4" in hits
    assert subprocess.run([results[0].binaries["llama-cli"]], capture_output=True, text=True).stdout == "6\n"


@pytest.mark.slow
def test_programs_and_probe_are_the_same_bytes_wherever_they_are_compiled(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    """Two caches share nothing, in folders of different names: two machines with the same engine."""
    builds, probes, digests = [], [], []
    recipe = bake.find(REPOSITORY, "bitnet-cpu-min")
    for name in ("one", "a folder of another machine"):
        cache = tmp_path / name
        builds.append(_compile(engine, image, cache, tmp_path / f"{name}.out"))
        with compilers(engine.client, image, REPOSITORY, cache) as workbench:
            probes.append(probe(REPOSITORY / "images/probe.c", cache / "images", workbench))
        built = build_image(
            replace(recipe, context=tmp_path / f"{name}.image/context"),
            Parts(tmp_path / f"{name}.out", probes[-1], None, []),
            DockerBuilder(engine.client),
            **(DETAILS | {"cache": cache / "layers"}),
        )
        digests.append(built.layout.manifest.digest)
    shutil.rmtree(tmp_path / "one/trees")
    shutil.rmtree(tmp_path / "one/finished")
    again = _compile(engine, image, tmp_path / "one", tmp_path / "again")

    first, second = (result.facts["binaries"]["llama-server"] for result in builds)
    assert first == second == again.facts["binaries"]["llama-server"]
    assert builds[0].key == builds[1].key
    assert probes[0].read_bytes() == probes[1].read_bytes()
    assert digests[0] == digests[1]
    records = [json.loads(result.record.read_text()) for result in builds]
    assert records[0] == records[1]
    assert records[0]["packages"]["gcc-12"] == dict(line.split("=") for line in PINNED)["gcc-12"]
    program = builds[0].binaries["llama-server"].read_bytes()
    assert str(tmp_path).encode() not in program
    shown = subprocess.run([builds[0].binaries["llama-server"], "--version"], capture_output=True, text=True)
    assert shown.returncode == 0

"""Images are booted, asked and stopped by a real engine, before and after they went through a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from provision.cli.main import main
from provision.errors import UsageError
from provision.images.build.checks import LABEL, Declared, write
from provision.images.build.image import Built
from provision.images.promotion.evidence import read_check
from provision.images.registry.layout import ImageFolder
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect
from provision.images.smoke.pull import load, pull
from provision.images.smoke.run import Report, Wanted, smoke
from provision.native.model import write_demo_model
from tests.bitnet.runtime.gguf_files import with_type_id
from tests.images.build.make import REPOSITORY
from tests.images.registry import Registry
from tests.native.conftest import Told
from tests.testbed.docker import Engine

LONG = json.dumps({"prompt": "and so", "n_predict": 2000, "ignore_eos": True})
PATIENT = Wanted(drain_seconds=120)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "demo.gguf"
    write_demo_model(file)
    return file


def tried(engine: Engine, built: Built, model: Path | None, wanted: Wanted = PATIENT) -> Report:
    name, layout = built.recipe.name, built.layout
    image = load(engine.client, layout, name)
    return smoke(engine.client, image, name, layout.manifest.digest, model, wanted, Told())


def facts(report: Report, check: str) -> dict[str, object]:
    return dict(next(item for item in report.checks if item.name == check).facts)


def test_the_smallest_image_passes_with_nothing_to_write_to_and_no_network(
    engine: Engine, smallest: Built, model: Path, tmp_path: Path
) -> None:
    report = tried(engine, smallest, model)

    assert report.failed is None, report
    assert [check.name for check in report.checks] == [
        "boot",
        "not root",
        "healthcheck",
        "completion",
        "metrics",
        "drain",
    ]
    assert facts(report, "completion")["tokens"] == 16
    assert report.digest == smallest.layout.manifest.digest
    assert engine.client.containers.list(all=True) == []
    assert engine.client.volumes.list() == []


def test_the_runtime_finishes_what_it_is_asked_before_it_ends(engine: Engine, runtime: Built, model: Path) -> None:
    declared = (Declared("http", "/v1/models"), Declared("tcp", 9481), Declared("command", ("bitnet", "diagnose")))
    wanted = Wanted(drain_seconds=120, checks=declared)

    report = tried(engine, runtime, model, wanted)

    assert report.failed is None, report
    assert facts(report, "drain")["finished_in_flight"] == 1
    assert {"http /v1/models", "tcp 9481", "command bitnet diagnose"} <= {check.name for check in report.checks}


def test_a_check_that_fails_ends_the_test_and_brings_the_last_lines_of_the_container(
    engine: Engine, smallest: Built, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, or not")

    report = tried(engine, smallest, broken)

    assert report.failed is not None
    assert report.failed.name == "boot"
    assert "it ended with status 1" in str(report.failed.facts["why"])
    assert any("broken" in line or "model" in line for line in report.log)
    assert len(report.checks) == 1


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (Declared("http", "/no-such-page", 0.1), "not within 0 s: "),
        (Declared("tcp", 1, 0.1), "Connection refused"),
        (Declared("command", ("/probe", "/no-such-page")), "File Not Found"),
        (Declared("command", ("/probe", "-t", "60", "/completion", LONG), 0.1), "it did not end within 0 s"),
    ],
    ids=lambda value: value.kind if isinstance(value, Declared) else "",
)
def test_a_declared_check_that_fails_is_named_with_the_reason(
    check: Declared, why: str, engine: Engine, smallest: Built, model: Path
) -> None:
    report = tried(engine, smallest, model, Wanted(checks=(check,), drain_seconds=120))

    assert report.failed is not None
    assert report.failed.name == check.name
    assert why in str(report.failed.facts["why"])


def test_what_an_image_declares_itself_is_asked_before_what_a_person_adds(
    engine: Engine, smallest: Built, model: Path
) -> None:
    image = load(engine.client, smallest.layout, "bitnet-cpu-min")
    container = engine.client.containers.create(image)
    declared = container.commit(conf={"Labels": {LABEL: write([{"tcp": 8081}, {"http": "/v1/models"}])}})
    container.remove(v=True)
    wanted = Wanted(drain_seconds=120, checks=(Declared("http", "/v1/models"), Declared("http", "/health")))

    report = smoke(engine.client, declared, "declared", "sha256:0", model, wanted, Told())

    assert report.failed is None, report
    assert [check.name for check in report.checks][5:-1] == ["tcp 8081", "http /v1/models", "http /health"]


def test_results_are_what_evidence_is_made_of(engine: Engine, smallest: Built, model: Path, tmp_path: Path) -> None:
    report = tried(engine, smallest, model)
    report.write(tmp_path / "smoke.json")

    written = json.loads((tmp_path / "smoke.json").read_text())

    assert tuple(map(read_check, written["checks"])) == report.checks
    assert written["digest"] == smallest.layout.manifest.digest


def test_an_image_without_a_probe_is_refused_with_what_to_do(engine: Engine) -> None:
    image = engine.client.images.get("bitnet-test-base:1")

    with pytest.raises(UsageError, match="does not say how it is asked"):
        smoke(engine.client, image, "base", "sha256:0", None, PATIENT, Told())


def test_what_was_pushed_is_pulled_by_digest_and_answers_unless_it_cannot_read_the_model(
    engine: Engine,
    smallest: Built,
    plain: Registry,
    name: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", plain.environ["DOCKER_CONFIG"])
    engine.see(plain.authority)
    text = f"{plain.authority}/{name}"
    repository = connect(parse(text), write=True)
    folder = ImageFolder(smallest.layout.folder)
    manifest = folder.manifest
    for blob in manifest.blobs:
        repository.put_blob(b"".join(folder.stream(blob)))
    repository.put(manifest, "canary")

    other = with_type_id(Path(shutil.copy(model, tmp_path)), "blk.0.ffn_up.weight", 36)

    refused = main(["image", "smoke", f"{text}:canary", "--engine", engine.url, "--model", str(other)])
    with pytest.raises(ImageNotFound):
        engine.client.images.get(f"{text}@{manifest.digest}")
    image, pulled, digest = pull(engine.client, f"{text}:canary")
    report = smoke(engine.client, image, pulled, digest, model, replace(PATIENT, types=("F16", "TQ2_0")), Told())

    assert digest == smallest.layout.manifest.digest
    assert image.id == smallest.layout.config_digest
    assert report.failed is None, report
    assert refused == 4
    said = capsys.readouterr().err
    assert f"holds I2_S tensors, which the programs in {text}@{manifest.digest} can't read" in said
    assert "profile min, and read TQ1_0 TQ2_0" in said
    assert facts(report, "boot").items() >= {"source": "llama.cpp", "profile": "min", "reads": "TQ1_0 TQ2_0"}.items()
    assert facts(report, "completion")["model_types"] == ["F16", "TQ2_0"]


def test_the_verb_exits_1_and_names_the_check(engine: Engine, smallest: Built, tmp_path: Path) -> None:
    folder = tmp_path / "build" / "images" / "bitnet-cpu-min"
    folder.mkdir(parents=True)
    (folder / "oci").symlink_to(smallest.layout.folder)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, or not")

    deploy = [sys.executable, "-m", "provision.cli", "image", "smoke", "bitnet-cpu-min", "-C", str(tmp_path)]
    done = subprocess.run(
        [*deploy, "--model", str(broken), "--report", str(tmp_path / "report.json")],
        env=os.environ | {"DOCKER_HOST": engine.url},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "boot failed" in done.stderr
    assert "  | " in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["checks"][0]["passed"] is False


def test_the_script_for_inside_a_container_says_what_it_saw(engine: Engine, runtime: Built, model: Path) -> None:
    script = (REPOSITORY / "scripts" / "container_smoke.sh").read_text()

    report = tried(
        engine, runtime, model, Wanted(checks=(Declared("command", ("sh", "-c", script), 120),), drain_seconds=120)
    )

    said = next(check.facts["output"] for check in report.checks if check.name.startswith("command sh"))
    assert said.split("\n")[:3] == ["passed: health", "passed: completion", "passed: metrics"]

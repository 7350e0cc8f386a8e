"""Models by where they are: locked by their headers, fetched by the host, and served."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.errors import DeployError
from provision.models.found import find
from provision.project import load
from provision.targets import sandbox
from tests.faults.hooks import until
from tests.models.conftest import COMMIT, TOKEN, Hub
from tests.models.project import REPOSITORY, Project


@pytest.fixture
def project(tmp_path: Path, environ: dict[str, str]) -> Iterator[Project]:
    project = Project(tmp_path / "project", environ)
    yield project
    sandbox.stop(project.root)


def test_a_host_fetches_the_model_that_is_locked_and_an_unchanged_one_costs_nothing(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}:Q4_K_M")

    assert "models.tiny: it is not locked" in project.refused("up")
    assert f"tiny: new at {COMMIT[:12]}" in project.ok("model", "lock")
    planned = project.ok("plan")
    assert "fetch model models/tiny.gguf" in planned
    assert re.search(r"in all \S+ MB to move\n", planned)  # from where nothing came yet
    assert re.search(r"disk: .* free, .* with both releases\n", planned)
    project.ok("up")

    digest = hashlib.sha256(demo_model).hexdigest()
    assert project.served() == digest
    assert [path.name for path in project.kept] == [f"sha256-{digest}"]
    assert [path.name for path in project.kept[0].iterdir()] == ["tiny.gguf"]
    before = len(hub.asked)
    project.ok("up")
    assert len(hub.asked) == before
    assert "as before" in project.ok("model", "lock")
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model + bytes(32), "1" * 40)
    assert "moved" in project.ok("model", "lock")
    assert re.search(r"in all \S+ MB to move, about \S+ \w+ at the speed last seen\n", project.ok("plan"))
    project.ok("down")


def test_what_drafts_and_what_sees_are_locked_and_fetched_as_the_model_is(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model)
    hub.put("acme/small", "small.gguf", demo_model + bytes(32))
    hub.put(REPOSITORY, "mmproj-tiny-f16.gguf", demo_model + bytes(64))
    project.declare(
        f"hf://{REPOSITORY}:Q4_K_M",
        '[models.small]\nsource = "hf://acme/small/small.gguf"\n'
        f'[models.eyes]\nsource = "hf://{REPOSITORY}/mmproj-tiny-f16.gguf"\n'
        '[services.llm]\ndraft = "small"\ndraft_args = ["${draft}"]\n'
        'mmproj = "eyes"\nmmproj_args = ["${mmproj}"]\n',
    )
    text = (project.root / "deploy.toml").read_text()
    at = text.rindex("[services.llm]")
    (project.root / "deploy.toml").write_text(text[:at] + text[at + len("[services.llm]") :])

    assert "small: new at" in project.ok("model", "lock")
    shown = project.ok("model", "show")
    assert "GB besides, for it drafts there" in shown
    assert "GB besides, for it lets the model see there" in shown
    assert "fetch model models/small.gguf" in project.ok("plan")
    project.ok("up")

    kept = sorted(file.name for folder in project.kept for file in folder.iterdir())
    assert kept == ["eyes.gguf", "small.gguf", "tiny.gguf"]
    assert project.ok("model", "list").count("small.gguf") == 1
    project.ok("down")


@pytest.mark.slow
def test_what_hosts_can_t_reach_is_fetched_here_once_into_the_hub_s_own_cache(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}:Q4_K_M", 'fetch = "ship"\nlimit = "800Mbit/s"\n')
    project.ok("model", "lock")

    assert "ship model models/tiny.gguf" in (plan := project.ok("plan"))
    assert "which this machine fetches once" in plan
    project.ok("up")

    digest = hashlib.sha256(demo_model).hexdigest()
    assert project.served() == digest
    assert [path.name for path in project.kept[0].iterdir()] == ["tiny.gguf"]
    cached = Path(project.environ["HF_HOME"], "hub", f"models--{REPOSITORY.replace('/', '--')}", "snapshots", COMMIT)
    assert (cached / "tiny.Q4_K_M.gguf").read_bytes() == demo_model
    project.ok("down")
    shutil.rmtree(project.root.parent / "place")
    before = len([each for each in hub.asked if each["files"]])
    project.ok("up")
    assert len([each for each in hub.asked if each["files"]]) == before, "what is here is not fetched again"
    project.ok("down")


@pytest.mark.slow
def test_models_are_brought_before_a_deploy_told_compared_and_pruned(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.gguf")
    project.ok("model", "lock")
    digest = hashlib.sha256(demo_model).hexdigest()

    assert "fetched 3.9 MB" in project.ok("model", "fetch")
    assert "of no release" in project.ok("model", "list")
    assert "has them all" in project.ok("model", "fetch")
    assert "removed tiny.gguf" in project.ok("model", "prune")
    assert project.kept == []
    project.ok("up")
    (said,) = [json.loads(line) for line in project.ok("model", "list", "--json").splitlines() if digest in line]
    assert (said["sha256"], said["bytes"], said["serves"], len(said["releases"])) == (digest, len(demo_model), True, 1)
    assert "nothing to remove" in project.ok("model", "prune")
    assert "is whole" in project.ok("model", "verify")

    place = project.kept[0] / "tiny.gguf"
    place.chmod(0o644)
    with place.open("r+b") as file:
        file.seek(1000)
        file.write(b"another")
    damaged = project.run("model", "verify")
    assert (damaged.returncode, "is damaged" in damaged.stdout + damaged.stderr) == (1, True)
    place.parent.chmod(0o755)
    shutil.rmtree(place.parent)
    assert "fetch model" in project.ok("plan")
    project.ok("up")
    assert "is whole" in project.ok("model", "verify")
    project.ok("down")
    assert "did you mean" in project.refused("model", "show", "tinny").lower()


@pytest.mark.slow
def test_a_revision_that_moves_changes_nothing_until_it_is_locked_anew(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.gguf")
    project.ok("model", "lock")
    locked = (project.root / "models.lock").read_text()
    moved = demo_model + bytes(32)
    hub.put(REPOSITORY, "tiny.gguf", moved, commit="f" * 40)

    project.ok("plan")
    assert (project.root / "models.lock").read_text() == locked
    assert "tiny: moved at ffffffffffff" in project.ok("model", "lock")
    assert json.loads((project.root / "models.lock").read_text())["models"]["tiny"]["revision"] == "f" * 40


def test_what_a_model_needs_is_said_without_its_weights(project: Project, hub: Hub, demo_model: bytes) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.gguf@{COMMIT}")

    said = json.loads(project.ok("model", "show", "tiny", "--json"))

    assert (said["architecture"], said["layers"], said["context_length"]) == ("bitnet", 4, 2048)
    assert said["bytes_read"] <= 1 << 20 < len(demo_model)
    assert 30e6 < said["memory_bytes"]["llm"] < 100e6


@pytest.mark.slow
def test_a_model_that_the_host_has_no_memory_for_is_refused_before_it_is_fetched(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.gguf")
    declared = (project.root / "deploy.toml").read_text()
    (project.root / "deploy.toml").write_text(declared.replace('"${port}"]', '"${port}", "--ctx-size", "999999999"]'))
    project.ok("model", "lock")
    before = len(hub.asked)

    said = project.refused("up")

    assert "MiB of memory are needed" in said
    assert "a model's context" in said
    assert re.search(r"a context of \d+ tokens fits \(--ctx-size \d+\)", said)
    assert not any(each["files"] for each in hub.asked[before:])
    context = re.search(r"--ctx-size (\d+)", said)
    assert context
    fitting = declared.replace('"${port}"]', f'"${{port}}", "--ctx-size", "{context[1]}"]')
    (project.root / "deploy.toml").write_text(fitting)
    project.ok("plan")
    # How much of it is in main memory is not known here where a GPU has layers.
    on_a_gpu = declared.replace('"${port}"]', '"${port}", "--ctx-size", "999999999", "--n-gpu-layers=99"]')
    (project.root / "deploy.toml").write_text(on_a_gpu)
    project.ok("plan")


@pytest.mark.slow
def test_parts_of_a_split_model_are_one_and_keep_the_names_that_programs_look_for(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    for number in (1, 2):
        hub.put(REPOSITORY, f"Q8_0/big-{number:05}-of-00002.gguf", demo_model + bytes(number * 32))
    project.declare(f"hf://{REPOSITORY}/Q8_0/big-00001-of-00002.gguf")
    project.ok("model", "lock")
    project.ok("up")

    assert project.served() == hashlib.sha256(demo_model + bytes(32)).hexdigest()
    names = sorted(each.name for folder in project.kept for each in folder.iterdir())
    assert names == ["tiny-00001-of-00002.gguf", "tiny-00002-of-00002.gguf"]
    project.ok("down")


def test_the_token_is_shown_to_the_hub_alone_and_is_kept_nowhere(project: Project, hub: Hub, demo_model: bytes) -> None:
    hub.put("acme/gated-gguf", "tiny.gguf", demo_model)
    project.declare("hf://acme/gated-gguf/tiny.gguf", 'token = "HF_KEY"\n')

    assert "is gated" in project.refused("model", "lock")
    (project.root / ".env").write_text(f"HF_KEY={TOKEN}\n")
    (project.root / ".env").chmod(0o600)
    project.ok("model", "lock")
    said = project.ok("up")

    asked = hub.asked
    assert any(each["token"] for each in asked if not each["files"])
    assert [each for each in asked if each["files"]]
    assert not any(each["token"] for each in asked if each["files"])
    assert TOKEN not in said
    kept = [path for path in (project.root.parent / "place").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
    project.ok("down")


@pytest.mark.parametrize(
    ("source", "extra", "says"),
    [
        ("hf://acme", "", "expected"),
        ("ftp://example.net/m.gguf", "", "expected"),
        ("https://user:pass@example.net/m.gguf", "", "a login in it would be, too"),
        ("https://example.net/m.bin", "", "ends in .gguf"),
        ("https://example.net/m.gguf", "", "nobody else says which file is meant"),
        ("hf://acme/none/m.gguf", "", "shows no repository"),
        (f"hf://{REPOSITORY}/tinny.gguf", "", "tiny.gguf"),
        ("hf://../../m.gguf", "", "no repository at the Hub is called ../.."),
        ("hf://--x/y--z:Q2_K", "", "no repository at the Hub is called --x/y--z"),
        ("hf://acme/tiny;reboot/m.gguf", "", "expected"),
        ("hf://acme/lying-gguf/tiny.gguf", "", "does not say which content it has"),
        (f"hf://{REPOSITORY}:Q2_K", "", "no file of quantization Q2_K"),
        (f"hf://{REPOSITORY}/tiny.gguf@v9", "", "has no revision v9"),
        (f"hf://{REPOSITORY}/tiny.gguf", f'sha256 = "{"0" * 64}"', "is not the digest that the Hub has"),
        (f"hf://{REPOSITORY}/text.gguf", "", "is no GGUF model"),
    ],
)
def test_a_model_that_can_t_be_had_is_a_sentence(
    project: Project, hub: Hub, demo_model: bytes, monkeypatch: pytest.MonkeyPatch, source: str, extra: str, says: str
) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    hub.put(REPOSITORY, "text.gguf", b"words " * 100)
    hub.put("acme/lying-gguf", "tiny.gguf", demo_model, commit="no-commit")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    project.declare(source, extra + "\n")

    with pytest.raises(DeployError) as refused:
        loaded = load(project.root, without_targets=True, demand_secrets=False, environ={})
        find("tiny", loaded.project.models["models/tiny.gguf"], "", {})

    assert says in str(refused.value)


def test_a_hub_that_is_not_there_is_a_sentence(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{project.port}")
    project.declare(f"hf://{REPOSITORY}/tiny.gguf")
    loaded = load(project.root, without_targets=True, demand_secrets=False, environ={})

    with pytest.raises(DeployError, match=r"the Hub can't be asked") as failed:
        find("tiny", loaded.project.models["models/tiny.gguf"], "", {})

    assert failed.value.why


@pytest.mark.slow
def test_while_a_host_fetches_nobody_prunes_and_who_is_killed_is_followed_by_the_next(
    project: Project, hub: Hub, demo_model: bytes
) -> None:
    hub.put(REPOSITORY, "tiny.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.gguf")
    project.ok("model", "lock")
    before = len(hub.asked)
    hub.fail(*["hang"] * 40)
    command = [sys.executable, "-m", "provision.cli", "model", "fetch"]
    with subprocess.Popen(command, cwd=project.root, env=project.environ, stdout=subprocess.DEVNULL) as fetching:
        until(lambda: any(each["files"] for each in hub.asked[before:]), "a piece is asked for")
        assert "somebody else is deploying" in project.refused("model", "prune")
        assert "somebody else is deploying" in project.refused("model", "fetch")
        fetching.kill()
    hub.fail()

    project.ok("up")

    assert project.served() == hashlib.sha256(demo_model).hexdigest()
    project.ok("down")


def test_two_projects_of_a_host_have_one_file_of_the_same_model(project: Project, hub: Hub, demo_model: bytes) -> None:
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.Q4_K_M.gguf")
    project.ok("model", "lock")
    project.ok("up")
    project.become_another()
    declared = project.root / "deploy.toml"
    text = declared.read_text().replace("models.tiny", "models.same")
    declared.write_text(text.replace('model = "tiny"', 'model = "same"'))
    project.ok("model", "lock")
    fetched = len([each for each in hub.asked if each["files"]])

    assert "is on the host already" in project.ok("plan")
    project.ok("up")

    (one,) = project.kept[0].iterdir()
    folder = project.root.parent / "another/shared/models" / project.kept[0].name
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == {
        "tiny.gguf": one.stat().st_ino,
        "same.gguf": one.stat().st_ino,
    }
    assert len([each for each in hub.asked if each["files"]]) == fetched


@pytest.mark.parametrize("how", ["written to", "another content"])
def test_what_another_project_has_counts_as_that_model_alone_if_it_is_it(
    project: Project, hub: Hub, demo_model: bytes, how: str
) -> None:
    hub.put(REPOSITORY, "tiny.Q4_K_M.gguf", demo_model)
    project.declare(f"hf://{REPOSITORY}/tiny.Q4_K_M.gguf")
    project.ok("model", "lock")
    project.ok("up")
    (one,) = project.kept[0].iterdir()
    one.chmod(0o644)
    if how == "another content":
        one.write_bytes(bytes(len(demo_model)))
        one.chmod(0o444)
    project.become_another()

    project.ok("model", "fetch")

    there = project.root.parent / "another/shared/models" / project.kept[0].name / "tiny.gguf"
    assert there.read_bytes() == demo_model
    assert there.stat().st_ino != one.stat().st_ino

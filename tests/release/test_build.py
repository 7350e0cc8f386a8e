"""Releases: the same content gives the same id, and what is in one is what it should be."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.agent.files import remove_tree
from provision.contract import tree
from provision.contract.failure import FORMAT_OF_BENCH
from provision.errors import UsageError
from provision.release import Release, build
from tests.release.projects import declare, paths, released, write, write_model

SERVICES: dict[str, Any] = {
    "web": {"command": ["web"], "port": 8000},
    "api": {"command": ["api"], "paths": ["api/**"]},
    "llama": {"command": ["${binary}", "${model}"], "binary": "build/llama", "model": "m.gguf", "paths": []},
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    write(root, {".gitignore": "/build/\n", "web.py": "", "api/api.py": "", "build/llama": "#!", "deploy.toml": ""})
    (root / "build" / "llama").chmod(0o755)
    (root / "link").symlink_to("api/api.py")
    write_model(root / "m.gguf")
    return root


def fingerprints(release: Release) -> dict[str, str]:
    return {entry["name"]: entry["fingerprint"] for entry in release.document["lanes"]["stable"]["services"]}


def restarted(root: Path, change: Callable[[Path], object], **declared: Any) -> list[str]:
    """The services that restart because of a change in the project's folder."""
    before = fingerprints(released(root, SERVICES, **declared))
    change(root)
    after = fingerprints(released(root, SERVICES, **declared))
    return [name for name in before if before[name] != after[name]]


def test_the_document_has_the_agreed_shape(root: Path) -> None:
    document = released(root, SERVICES).document

    assert set(document) == {"format", "project", "platform", "path", "links", "models", "prepare", "lanes"}
    assert (document["format"], document["project"], document["platform"]) == (1, "cres", "supervisord")
    assert (document["path"], document["prepare"]) == ("/srv/cres", None)
    assert list(document["lanes"]) == ["stable", "canary", "candidate"]
    assert json.loads(json.dumps(document)) == document


def test_a_version_that_knows_no_bench_refuses_a_release_with_one(root: Path) -> None:
    measured = {**SERVICES, "web": {**SERVICES["web"], "check": {"bench": {"tokens_per_second": 40}}}}

    assert released(root, measured).document["format"] == FORMAT_OF_BENCH


def test_a_host_finds_the_digest_that_was_promised(root: Path, tmp_path: Path) -> None:
    release = released(root, SERVICES)
    host = tmp_path / "host"
    for entry in release.files:
        (host / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / entry.path, host / entry.path, follow_symlinks=False)
    for path, target in release.document["links"].items():
        (host / path).symlink_to(target)
    for path in host.rglob("*"):
        if not path.is_symlink() and path.is_file():
            path.chmod(0o555 if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else 0o444)
    (host / "release.json").write_text("whatever")

    digest, entries = tree.digest(os.fspath(host))

    assert digest == release.tree
    assert {tuple(entry) for entry in entries if entry.path != "m.gguf"} == {
        (entry.path, entry.executable, entry.size, entry.sha256, entry.target) for entry in release.files
    }


def test_the_id_is_made_of_tree_and_document(root: Path) -> None:
    release = released(root, SERVICES)
    text = json.dumps(release.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert release.id == tree.release_id(text.encode(), release.tree)


def test_the_same_content_elsewhere_and_later_is_the_same_release(root: Path, tmp_path: Path) -> None:
    first = released(root, SERVICES)
    shutil.copytree(root, tmp_path / "clone", symlinks=True)
    for path in (tmp_path / "clone").rglob("*"):
        if not path.is_symlink():
            os.utime(path, (0, 0))

    second = released(tmp_path / "clone", dict(reversed(SERVICES.items())))

    assert second.tree == first.tree
    assert released(tmp_path / "clone", SERVICES).id == first.id


@pytest.mark.parametrize(
    ("change", "services"),
    [
        (lambda root: write(root, {"web.py": "changed"}), ["web"]),
        (lambda root: write(root, {"api/new.py": ""}), ["web", "api"]),
        (lambda root: (root / "api" / "api.py").unlink(), ["web", "api"]),
        (lambda root: (root / "web.py").chmod(0o755), ["web"]),
        (lambda root: (root / "build" / "llama").write_text("new"), ["web", "llama"]),
        (lambda root: write_model(root / "m.gguf", seed=1), ["llama"]),
        (lambda root: write(root, {"deploy.toml": "# a comment"}), []),
        (lambda root: write(root, {".gitignore": "/build/\n# a comment"}), []),
        (lambda root: write(root, {"build/log": "ignored"}), []),
        (lambda root: write(root, {".env": "SECRET=1"}), []),
        (lambda root: write(root, {"hosts": "gpu-03 ssh-ed25519 AAAA"}), []),
    ],
)
def test_a_change_restarts_the_services_that_read_it(
    change: Callable[[Path], object], services: list[str], root: Path
) -> None:
    there = {"hosts": ["a"], "path": "/srv/cres", "known_hosts": "hosts"}

    assert restarted(root, change, targets={"there": there}) == services


def test_pinning_a_host_key_restarts_nothing(root: Path) -> None:
    there = {"hosts": ["a"], "path": "/srv/cres"}
    pin = {"known_hosts": "gpu-03 ssh-ed25519 AAAA"}

    assert restarted(root, lambda root: write(root, pin), targets={"there": there}) == []


def test_a_changed_prepare_step_restarts_what_may_use_its_result(root: Path) -> None:
    write(root, {"uv.lock": "1"})
    prepare = {"command": ["uv", "sync"], "inputs": ["uv.lock"], "outputs": ["venv"]}

    assert restarted(root, lambda root: write(root, {"uv.lock": "2"}), prepare=prepare) == ["web", "api"]
    assert restarted(root, lambda root: write(root, {"venv/x": "made here"}), prepare=prepare) == []


def test_a_file_that_the_prepare_step_goes_by_has_to_be_shipped(root: Path) -> None:
    write(root, {".gitignore": "*.lock\n", "uv.lock": "1"})
    prepare = {"command": ["uv", "sync"], "inputs": ["uv.lock"]}

    with pytest.raises(UsageError, match=r"goes by uv\.lock, which is not among the files that are shipped"):
        released(root, SERVICES, prepare=prepare)

    assert "uv.lock" in paths(released(root, SERVICES, prepare=prepare, include=["uv.lock"]))


def test_a_place_that_refuses_the_prepare_step_is_told_of_none(root: Path) -> None:
    env = {"CACHE": "${path}/shared/cache", "MODE": "for ${project}"}
    prepare = {"command": ["uv", "sync"], "outputs": ["venv"], "env": env}
    write(root, {"venv/x": ""})

    wanted = released(root, SERVICES, prepare=prepare)
    refused = released(root, SERVICES, prepare=prepare, target={"prepare": False})

    assert wanted.document["prepare"] == {
        "command": ["uv", "sync"],
        "inputs": [],
        "outputs": ["venv"],
        "secrets": [],
        "timeout": 900.0,
        "env": {"CACHE": "/srv/cres/shared/cache", "MODE": "for cres"},
    }
    assert refused.document["prepare"] is None
    assert "venv/x" not in paths(wanted)
    assert "venv/x" in paths(refused)


def test_a_template_of_the_project_is_part_of_its_release(root: Path) -> None:
    before = released(root, SERVICES)
    write(root, {"templates/supervisord/program.conf.j2": "[program:{{ program.name | plain }}]\n"})

    after = released(root, SERVICES)

    assert after.id != before.id
    assert after.document["lanes"]["stable"]["services"][0]["manifest"]["text"] == "[program:web]\n"


def test_a_target_that_runs_some_services_gets_their_models_and_binaries_alone(root: Path) -> None:
    release = released(root, SERVICES, target={"services": ["web"]})

    assert release.models == ()
    assert release.document["links"] == {}
    assert "build/llama" not in paths(release)


def test_an_ignored_binary_is_shipped(root: Path) -> None:
    write(root, {"build/other": ""})

    assert [path for path in paths(released(root, SERVICES)) if path.startswith("build")] == ["build/llama"]


def link_through_a_link(root: Path) -> None:
    (root / "build" / "up").symlink_to("/")
    (root / "out").symlink_to("build/up/etc")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link out of the project": (
        lambda root: (root / "out").symlink_to("../elsewhere"),
        "out is a link to ../elsewhere, which leaves the release",
    ),
    "an absolute link": (
        lambda root: (root / "out").symlink_to(root / "web.py"),
        "which leaves the release",
    ),
    "a link through a link": (
        link_through_a_link,
        "out is a link to build/up/etc, which leaves the release",
    ),
    "a release.json": (
        lambda root: write(root, {"release.json": "{}"}),
        "release.json at the project's top has the name of the release's own document",
    ),
    "a name that is not text": (
        lambda root: Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch(),
        "is not UTF-8",
    ),
    "a missing binary": (
        lambda root: (root / "build" / "llama").unlink(),
        "services.llama.binary: build/llama is not among the files that are shipped",
    ),
    "a binary that may not be executed": (
        lambda root: (root / "build" / "llama").chmod(0o644),
        "services.llama.binary: build/llama may not be executed",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shipped_is_refused_by_name(change: Callable[[Path], object], message: str, root: Path) -> None:
    change(root)

    with pytest.raises(UsageError) as refused:
        released(root, SERVICES)

    assert message in str(refused.value)
    assert refused.value.next_step


def test_a_file_that_cannot_be_read_is_refused_by_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: str, path: str) -> tree.Entry:
        raise PermissionError(13, "Permission denied", f"{folder}/{path}")

    monkeypatch.setattr(tree, "entry", denied)

    with pytest.raises(UsageError, match=r"api/api\.py cannot be read\nPermission denied\nnext: make it readable"):
        released(root, SERVICES)


def test_an_unknown_target_is_refused_with_the_known_ones(root: Path) -> None:
    with pytest.raises(UsageError, match="there is no target 'their'\nknown: there"):
        build(declare(), "their", root)


def test_links_within_the_project_are_shipped_as_links(root: Path) -> None:
    (root / "api" / "up").symlink_to("../web.py")
    (root / "current.gguf").symlink_to("m.gguf")
    (root / "folder").symlink_to("api")

    release = released(root, SERVICES)

    links = {entry.path: entry.target for entry in release.files if entry.target}
    assert links == {"link": "api/api.py", "api/up": "../web.py", "current.gguf": "m.gguf", "folder": "api"}
    assert release.warnings == ()


def test_a_link_to_a_model_that_is_kept_elsewhere_is_shipped(root: Path, tmp_path: Path) -> None:
    (root / "m.gguf").rename(tmp_path / "kept.gguf")
    (root / "m.gguf").symlink_to(tmp_path / "kept.gguf")
    (root / "current.gguf").symlink_to("m.gguf")

    assert "current.gguf" in paths(released(root, SERVICES))


def test_odd_things_are_named_and_left_out(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "nowhere").symlink_to("build/log")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(root / "s"))
        release = released(root, SERVICES)

    assert release.warnings == (
        "not shipped: pipe is a named pipe, and a release holds files and links alone",
        "not shipped: s is a socket, and a release holds files and links alone",
        "nowhere is a link to build/log, which is not shipped",
    )
    assert {"pipe", "s"}.isdisjoint(paths(release))


def test_a_path_that_is_too_long_for_a_host_is_refused_by_name(tmp_path: Path) -> None:
    folder = "/".join(["x" * 199] * 18)
    write(tmp_path, {f"{folder}/file": ""})

    with pytest.raises(UsageError, match=r"x… is too long for a host: 3604 bytes below /y") as refused:
        released(tmp_path, target={"path": "/y" * 200})

    assert "deployignore" in refused.value.next_step


def test_folders_deeper_in_each_other_than_can_be_shipped_are_refused_by_name_unless_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    for _ in range(1500):
        folder.mkdir()
        folder /= "d"
    (folder.parent / "file").write_text("")

    with pytest.raises(
        UsageError, match=r"deep/d/d/.*… is too deep for rsync: 1500 folders in each other, and 1000 can"
    ):
        released(tmp_path)

    write(tmp_path, {".deployignore": "/deep", "app.py": ""})
    assert paths(released(tmp_path)) == ["app.py"]
    remove_tree(str(tmp_path / "deep"))  # what cleans up behind tests calls itself


@pytest.mark.parametrize("name", [".gitignore", ".deployignore"])
def test_a_folder_called_as_a_file_of_rules_has_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    write(tmp_path, {"app.py": ""})

    assert paths(released(tmp_path)) == ["app.py"]


@pytest.mark.parametrize(("pins", "lock"), [("known_hosts", ".known_hosts.lock"), ("keys/hosts", "keys/.hosts.lock")])
def test_a_lock_that_an_older_version_left_beside_pinned_keys_is_not_shipped(root: Path, pins: str, lock: str) -> None:
    before = released(root, SERVICES, target={"known_hosts": pins})

    write(root, {pins: "", lock: ""})

    assert released(root, SERVICES, target={"known_hosts": pins}).id == before.id

"""images/lock.json, against a real registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from provision.errors import RegistryFailed, UsageError
from provision.images.build import lock
from provision.images.registry.repository import Repository
from tests.images.build.make import REPOSITORY
from tests.images.make import image


@pytest.fixture
def root(tmp_path: Path, repository: Repository) -> Path:
    """A project whose only base is the tag `slim` of `repository`, pinned at what it is."""
    pinned = image(repository, "slim")
    (tmp_path / "images").mkdir()
    (tmp_path / "native").mkdir()
    shutil.copy(REPOSITORY / "native" / "sources.json", tmp_path / "native")
    sources = json.loads((REPOSITORY / "images" / "lock.json").read_text())["sources"]
    base = {"image": f"{repository.reference.name}:slim", "digest": pinned.digest}
    (tmp_path / "images" / "lock.json").write_text(json.dumps({"bases": {"debian": base}, "sources": sources}))
    return tmp_path


def test_nothing_moves_while_the_registry_says_the_same(root: Path) -> None:
    found = lock.read_lock(root)

    assert lock.refresh(found, root) == (found, [])


def test_a_tag_that_moved_is_pinned_anew(root: Path, repository: Repository) -> None:
    before = lock.read_lock(root)
    newer = image(repository, "slim")

    fresh, moved = lock.refresh(before, root)
    lock.write(fresh, root)

    assert [(item.before, item.after) for item in moved] == [(before.bases["debian"].digest, newer.digest)]
    assert lock.read_lock(root).base("debian") == f"{repository.reference.name}@{newer.digest}"


def test_a_tag_that_is_gone_is_named(root: Path, repository: Repository) -> None:
    file = root / "images" / "lock.json"
    file.write_text(file.read_text().replace(":slim", ":gone"))

    with pytest.raises(RegistryFailed, match="has no tag gone any more"):
        lock.refresh(lock.read_lock(root), root)


def test_the_sources_here_are_those_that_native_builds_pin() -> None:
    found = lock.read_lock(REPOSITORY)
    pinned = json.loads((REPOSITORY / "native" / "sources.json").read_text())

    assert found.sources["llama.cpp"]["sha256"] == pinned["llama.cpp"]["sha256"]
    wheels = {wheel["package"]: wheel["sha256"] for wheel in pinned["cuda"]["wheels"]}
    assert {name: found.sources[name]["sha256"] for name in wheels} == wheels


def test_a_base_that_is_not_locked_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="has no base 'ubuntu'"):
        lock.read_lock(root).base("ubuntu")


def test_a_broken_file_is_named(root: Path) -> None:
    (root / "images" / "lock.json").write_text('{"bases": {"debian": {"image": "x"}}}')

    with pytest.raises(UsageError, match=r"lock\.json cannot be read"):
        lock.read_lock(root)

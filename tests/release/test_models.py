"""Models: shipped by content, read once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bitnet.model import BITNET_CPP_TYPES, CPU_ONLY_TYPES
from provision.contract.model_types import CPU_ONLY_TYPES as WITHOUT_KERNELS
from provision.contract.model_types import FORK_TYPES
from provision.errors import UsageError
from provision.release import Hashing, Release, build, cache
from tests.release.projects import declare, paths, released, write, write_model

SERVICE = {"llama": {"command": ["llama", "${model}"], "model": "models/x.gguf"}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_model(tmp_path / "project" / "models" / "x.gguf")
    write(tmp_path / "project", {"app.py": ""})
    return tmp_path / "project"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_becomes_a_link_to_its_content(root: Path) -> None:
    release = released(root, SERVICE)

    file = root / "models" / "x.gguf"
    assert paths(release) == ["app.py"]
    assert release.document["links"] == {"models/x.gguf": f"../../../shared/models/sha256-{sha256(file)}/x.gguf"}
    assert release.document["models"] == {
        "models/x.gguf": {
            "sha256": sha256(file),
            "bytes": file.stat().st_size,
            "tensor_types": ["F32", "TQ2_0"],
            "architecture": "bitnet",
        }
    }
    assert "exec 'llama' 'models/x.gguf'" in release.document["lanes"]["stable"]["services"][0]["launch"]


def test_the_link_leads_from_a_release_to_shared_models(root: Path, tmp_path: Path) -> None:
    (link,) = released(root, SERVICE).document["links"].items()
    place = tmp_path / "host" / "releases" / "id" / link[0]

    assert os.path.normpath(place.parent / link[1]).startswith(str(tmp_path / "host" / "shared" / "models" / "sha256-"))


def test_a_model_that_is_itself_a_link_keeps_its_name(root: Path, tmp_path: Path) -> None:
    (root / "models" / "x.gguf").rename(tmp_path / "elsewhere.gguf")
    (root / "models" / "x.gguf").symlink_to(tmp_path / "elsewhere.gguf")

    (model,) = released(root, SERVICE).models

    assert model.relative == "models/x.gguf"
    assert model.sha256 == sha256(tmp_path / "elsewhere.gguf")


def test_a_link_to_a_model_inside_the_project_and_the_model_itself_are_one_content(root: Path) -> None:
    """The Hugging Face cache's own layout."""
    snapshots = root / "hub" / "snapshots" / "rev"
    snapshots.mkdir(parents=True)
    (root / "models" / "x.gguf").rename(root / "hub" / "0123abc")
    (snapshots / "x.gguf").symlink_to("../../0123abc")

    release = released(root, {"llama": {"command": ["llama"], "model": "hub/snapshots/rev/x.gguf"}})

    content = f"shared/models/sha256-{sha256(root / 'hub' / '0123abc')}/x.gguf"
    assert paths(release) == ["app.py"]
    assert release.document["links"] == {
        "hub/snapshots/rev/x.gguf": f"../../../../../{content}",
        "hub/0123abc": f"../../../{content}",
    }


def test_a_link_to_nothing_is_said_to_be_one(root: Path) -> None:
    (root / "models" / "x.gguf").unlink()
    (root / "models" / "x.gguf").symlink_to("../blobs/gone")

    with pytest.raises(UsageError, match=r"models/x\.gguf is a link to \.\./blobs/gone, which does not exist"):
        released(root, SERVICE)


def test_a_models_folder_that_is_a_link_inside_the_project_stays_one(root: Path) -> None:
    (root / "models").rename(root / "weights")
    (root / "models").symlink_to("weights")

    release = released(root, SERVICE)

    assert paths(release) == ["app.py", "models"]
    assert list(release.document["links"]) == ["weights/x.gguf"]
    assert "exec 'llama' 'weights/x.gguf'" in release.document["lanes"]["stable"]["services"][0]["launch"]


@pytest.mark.parametrize("declared", ["{outside}/y.gguf", "../outside/y.gguf"])
def test_a_model_outside_the_project_gets_a_place_in_models(declared: str, root: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "outside" / "y.gguf")
    model = declared.format(outside=tmp_path / "outside")

    release = released(root, {"llama": {"command": ["llama", "${model}"], "model": model}})

    assert list(release.document["links"]) == ["models/y.gguf"]
    assert release.document["lanes"]["stable"]["services"][0]["model"] == "models/y.gguf"


def test_two_models_may_not_have_one_place(root: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "x.gguf", seed=1)
    services = {**SERVICE, "other": {"command": ["llama"], "model": str(tmp_path / "x.gguf")}}

    with pytest.raises(UsageError, match=r"would both be models/x\.gguf in the release"):
        released(root, services)


def test_services_may_share_a_model(root: Path) -> None:
    assert len(released(root, {**SERVICE, "other": SERVICE["llama"]}).models) == 1


def test_every_part_of_a_split_model_is_linked_beside_the_first(root: Path) -> None:
    for number in (1, 2):
        write_model(root / "models" / f"big-{number:05}-of-00002.gguf", seed=number)

    release = released(root, {"llama": {"command": ["llama", "${model}"], "model": "models/big-00001-of-00002.gguf"}})

    assert list(release.document["links"]) == ["models/big-00001-of-00002.gguf", "models/big-00002-of-00002.gguf"]
    assert "'models/big-00001-of-00002.gguf'" in release.document["lanes"]["stable"]["services"][0]["launch"]


def test_a_missing_part_is_named(root: Path) -> None:
    write_model(root / "models" / "big-00001-of-00002.gguf")

    with pytest.raises(UsageError, match=r"services\.llama\.model: .*big-00002-of-00002\.gguf does not exist"):
        released(root, {"llama": {"command": ["llama"], "model": "models/big-00001-of-00002.gguf"}})


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.unlink(), "does not exist"),
        (lambda file: file.write_bytes(b"<html>not found</html>"), "it starts with b'<htm' instead of b'GGUF'"),
        (lambda file: file.write_bytes(b""), "the file is empty"),
        (lambda file: file.write_bytes(file.read_bytes()[:60]), "the model is truncated"),
        (lambda file: file.write_bytes(file.read_bytes()[:-40]), "tensor packed.weight ends at byte"),
        (lambda file: file.write_bytes(b"GGUF" + b"\1\0\0\0" + bytes(16)), "GGUF version 1 is not known"),
        (
            lambda file: file.write_bytes(b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + b"\xff" * 16),
            "entries do not fit into the rest of the file",
        ),
        (
            lambda file: file.write_bytes(
                b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + bytes(8) + b"\x63" + bytes(4)
            ),
            "99 is no GGUF value type",
        ),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_the_reason(
    spoil: Callable[[Path], object], why: str, root: Path
) -> None:
    spoil(root / "models" / "x.gguf")

    with pytest.raises(UsageError, match=r"services\.llama\.model: ") as refused:
        released(root, SERVICE)

    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("architecture", "number", "name"),
    [("bitnet-b1.58", 36, "I2_S"), ("llama", 39, "TL2"), ("llama", 38, "TL1"), ("x", 9999, "type 9999")],
)
def test_types_that_bitnet_alone_has_are_named(architecture: str, number: int, name: str, root: Path) -> None:
    file = root / "models" / "x.gguf"
    write_model(file, architecture=architecture)
    old = b"packed.weight" + bytes([2, 0, 0, 0]) + (256).to_bytes(8, "little") + (2).to_bytes(8, "little")
    content = file.read_bytes()
    at = content.index(old) + len(old)
    file.write_bytes(content[:at] + number.to_bytes(4, "little") + content[at + 4 :])

    (model,) = released(root, SERVICE).document["models"].values()

    assert (model["architecture"], model["tensor_types"]) == (architecture, sorted({"F32", name}))


def test_the_agent_knows_the_same_types_as_bitnets_alone() -> None:
    assert set(FORK_TYPES) == BITNET_CPP_TYPES
    assert set(WITHOUT_KERNELS) == CPU_ONLY_TYPES


def build_and_listen(root: Path) -> tuple[Release, list[Hashing]]:
    heard: list[Hashing] = []
    return build(declare(SERVICE), "there", root, on_event=heard.append), heard


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is as old as one that is not being written. Nobody can set the time of a file's status."""
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)


@pytest.mark.usefixtures("settled")
def test_an_unchanged_model_is_read_once(root: Path) -> None:
    first, heard = build_and_listen(root)
    second, heard_again = build_and_listen(root)

    size = (root / "models" / "x.gguf").stat().st_size
    assert [(event.done, event.total) for event in heard] == [(size, size)]
    assert heard_again == []
    assert second == first


@pytest.mark.usefixtures("settled")
def test_a_model_changed_in_place_with_its_size_and_time_kept_is_read_again(root: Path) -> None:
    file = root / "models" / "x.gguf"
    first, _ = build_and_listen(root)
    before = file.stat()
    time.sleep(0.02)  # kernels keep the time of a status by ticks
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)

    second, _ = build_and_listen(root)

    assert second.models[0].sha256 == sha256(file) != first.models[0].sha256


def test_a_model_whose_time_was_set_back_just_now_is_not_trusted_to_stay(root: Path) -> None:
    os.utime(root / "models" / "x.gguf", ns=(0, 0))
    _, heard = build_and_listen(root)
    _, heard_again = build_and_listen(root)

    assert heard_again == heard != []


@pytest.mark.usefixtures("settled")
def test_a_changed_model_is_read_again(root: Path) -> None:
    first, _ = build_and_listen(root)

    write_model(root / "models" / "x.gguf", seed=1)
    second, heard = build_and_listen(root)

    assert heard != []
    assert second.id != first.id


def test_a_model_that_was_written_just_now_is_not_trusted_to_stay(root: Path) -> None:
    _, heard = build_and_listen(root)
    _, heard_again = build_and_listen(root)

    assert heard_again == heard != []


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_is_no_more_than_a_missing_one(root: Path, tmp_path: Path) -> None:
    first, _ = build_and_listen(root)
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            file.write_text("{")

    assert build_and_listen(root)[0] == first


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_stops_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")

    assert build_and_listen(root)[0].models

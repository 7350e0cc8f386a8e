"""The pinned wheel: which one it is, where it comes from, and that it is that one."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bitnet import llama_server
from provision.engines import Wheel, WheelFile, wheel
from provision.errors import DeployError
from provision.events import ignore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def published(index: Path) -> Wheel:
    """A small wheel in the index, pinned."""
    file = index / "xllamacpp-1.0-cp310-abi3-manylinux2014_x86_64.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xllamacpp/xllamacpp.abi3.so", b"\x7fELF")
    content = file.read_bytes()
    pin = WheelFile(file.name, hashlib.sha256(content).hexdigest(), len(content), 4, ())
    return Wheel("xllamacpp", "1.0", ("TQ2_0",), {"x86_64": pin}, "print()")


def test_it_is_fetched_once_and_kept(index: Path) -> None:
    engine = published(index)
    first = engine.fetch("x86_64", ignore)
    (index / first.name).unlink()

    assert engine.fetch("x86_64", ignore) == first


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""])
def test_one_that_was_damaged_in_the_cache_is_fetched_again(spoil, index: Path) -> None:
    engine = published(index)
    kept = engine.fetch("x86_64", ignore)
    kept.write_bytes(spoil(kept.read_bytes()))

    assert hashlib.sha256(engine.fetch("x86_64", ignore).read_bytes()).hexdigest() == engine.wheels["x86_64"].sha256


def test_another_content_under_its_name_is_not_used(index: Path) -> None:
    engine = published(index)
    (index / engine.wheels["x86_64"].file).write_bytes(b"something else")

    with pytest.raises(DeployError, match=r"xllamacpp 1\.0 could not be downloaded") as refusal:
        engine.fetch("x86_64", ignore)

    assert f"{engine.wheels['x86_64'].sha256} is pinned; the file was not used" in refusal.value.why


def test_no_more_of_a_file_is_read_than_is_pinned(index: Path) -> None:
    engine = published(index)
    pin = engine.wheels["x86_64"]
    (index / pin.file).write_bytes(b"x" * 50_000_000)

    with pytest.raises(DeployError) as refusal:
        engine.fetch("x86_64", ignore)

    assert f"it sends more than the {pin.bytes} bytes that are pinned" in refusal.value.why


def test_a_host_has_another_engine_when_anything_of_it_changes(index: Path) -> None:
    engine = published(index)
    pin = engine.wheels["x86_64"]
    others = [
        replace(engine, program="print(1)"),
        replace(engine, wheels={"x86_64": replace(pin, sha256="0" * 64)}),
        replace(engine, wheels={"x86_64": pin, "aarch64": pin}),
    ]

    assert len({engine.id, *(other.id for other in others)}) == 4
    assert replace(engine).id == engine.id


def test_there_is_one_for_both_kinds_of_machine_that_are_rented() -> None:
    assert set(wheel().wheels) == {"x86_64", "aarch64"}
    for machine, file in wheel().wheels.items():
        assert file.file == Path(file.file).name
        assert file.features == llama_server.FEATURES.get(machine, ())
        assert file.file.startswith(f"xllamacpp-{wheel().version}-cp310-abi3-manylinux2014_{machine}.")

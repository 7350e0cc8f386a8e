"""What a host does with an engine: judges before it is sent, keeps it whole, and shares what is the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provision.agent import engines
from provision.contract.failure import Failure
from provision.contract.layout import Layout
from provision.engines import Wheel, wheel
from provision.events import ignore

FEATURES = ["avx", "avx2", "bmi2", "f16c", "fma"]
SERVES = "import sys; sys.exit('--version' not in sys.argv)\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "a place"))


def bring(layout: Layout, engine: Wheel) -> dict[str, Any]:
    """As a toolkit does; what the host answered first."""
    wheels = engine.document()["wheels"]
    asked = engines.incoming(layout, engine.id, wheels, FEATURES)
    if not asked["have"]:
        shutil.copy(engine.fetch(asked["machine"], ignore), asked["folder"])
    request = {"engine": engine.id, "wheels": wheels, "program": engine.program, "version": engine.version}
    engines.adopt(layout, request, lambda _: None)
    return asked


def test_another_program_on_the_same_wheel_needs_nothing_to_be_sent(layout: Layout) -> None:
    first, second = replace(wheel(), program=SERVES), replace(wheel(), program=SERVES + "# another\n")

    assert not bring(layout, first)["have"]
    assert bring(layout, second)["have"]

    assert sorted([first.id, second.id]) == engines.present(layout)
    extensions = [Path(layout.engines, engine.id, engines.EXTENSION) for engine in (first, second)]
    assert extensions[0].samefile(extensions[1])


@pytest.mark.parametrize("spoil", ["cut", "empty folder", "no Python"])
def test_one_that_is_damaged_counts_as_missing_and_is_replaced(spoil: str, layout: Layout) -> None:
    engine = replace(wheel(), program=SERVES)
    bring(layout, engine)
    folder = Path(layout.engines, engine.id)
    contents = folder / "contents.json"
    if spoil == "cut":
        (folder / engines.EXTENSION).unlink()
        (folder / engines.EXTENSION).write_bytes(b"half")
    elif spoil == "empty folder":
        shutil.rmtree(folder)
        folder.mkdir()
    else:
        text = contents.read_text()
        contents.unlink()
        contents.write_text(text.replace("/bin/python", "/bin/gone-python"))
    assert engines.present(layout) == []

    bring(layout, engine)

    assert engines.present(layout) == [engine.id]


def test_what_does_not_start_leaves_no_room_taken(layout: Layout) -> None:
    engine = replace(wheel(), program="raise SystemExit('no')\n")

    with pytest.raises(Failure, match="does not start on this host") as refused:
        bring(layout, engine)

    assert refused.value.why == "no"
    assert list(Path(layout.engines).iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": ["avx2", "avx10"]}, "needs avx10, which this host's processor lacks"),
        ({"unpacked": 1 << 60}, "the wheel engine needs"),
    ],
)
def test_what_could_not_run_or_has_no_room_is_refused_before_it_is_sent(
    change: dict[str, Any], says: str, layout: Layout
) -> None:
    wheels = {machine: {**facts, **change} for machine, facts in wheel().document()["wheels"].items()}

    with pytest.raises(Failure, match=says):
        engines.judge(layout, wheels, FEATURES)

    assert not Path(layout.root).exists()


def test_a_machine_that_no_wheel_is_made_for_is_told_how_to_have_one(layout: Layout) -> None:
    with pytest.raises(Failure, match="not made for this machine") as refused:
        engines.judge(layout, {"riscv64": {}}, [])

    assert 'engine = "build"' in refused.value.next_step


def test_a_python_that_every_account_may_run_is_taken_before_one_in_somebodys_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "home"
    hidden.mkdir(mode=0o700)
    (hidden / "python3.14").symlink_to("/usr/bin/python3")
    shutil.copy(shutil.which("true") or "/bin/true", hidden / "python3.13")
    monkeypatch.setenv("PATH", f"{hidden}:/usr/bin")

    assert not engines._is_everybodys(str(hidden / "python3.13"))
    assert engines._is_everybodys(engines._python())

"""What an agent believes, takes over and mends, in folders of this machine: each case is a matter of owners alone."""

# The paths of an agent are strings.
# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH110, PTH116, PTH118, PTH120, PTH208, PTH211

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from provision.agent import files, guard, loader, mend, strays, takeover
from provision.agent.folders import create
from provision.agent.locks import Lock
from provision.agent.supervisors import options
from provision.agent.supervisors.supervisord import Supervisord
from provision.contract import tree
from provision.contract.canonical import canonical
from provision.contract.failure import Failure
from provision.contract.layout import Layout

pytestmark = pytest.mark.root

_SOMEBODY = 65534


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project's folder as a deploy makes it."""
    monkeypatch.setenv("DEPLOY_STATE_DIR", str(tmp_path / "host"))
    (tmp_path / "host").mkdir()
    made = Layout(str(tmp_path / "app"))
    create(made)
    return made


def mended(layout: Layout, events: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    emit = (events if events is not None else []).append
    return mend.mend(layout, Supervisord(layout), guard.fault(layout), emit)


def test_notes_in_a_folder_that_others_may_fill_say_nothing(layout: Layout) -> None:
    """Hole 1: down ended, as root, whatever process such a note named, and waited for ever for a pipe."""
    note = os.path.join(layout.private, "processes.json")
    with subprocess.Popen(["sleep", "99"]) as victim:
        strays.remember(layout, {"web": victim.pid})
        assert strays.remembered(layout) == {"web": victim.pid}
        os.chmod(layout.private, 0o777)
        assert strays.remembered(layout) == {}
        assert strays.owners(layout, "web") == {0}
        os.chmod(layout.private, 0o711)
        os.chown(note, _SOMEBODY, -1)
        assert strays.remembered(layout) == {}
        victim.kill()
    for text in ("[]", "{", "[" * 99999, '{"boot": 1, "programs": 3}'):
        files.write(note, text)
        assert strays.remembered(layout) == {}
    os.unlink(note)
    for path in (note, os.path.join(layout.private, "supervisor.json")):
        os.mkfifo(path)
    assert (strays.remembered(layout), options(layout)) == ({}, {})


@pytest.mark.parametrize("leases", [True, False])
def test_no_file_is_taken_over_that_somebody_may_still_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leases: bool
) -> None:
    """Hole 4: a descriptor that was opened before still wrote after the digest was compared."""
    file = tmp_path / "upload" / "file"
    file.parent.mkdir()
    file.write_text("good")
    for path in (file.parent, file):
        os.chown(path, _SOMEBODY, -1)
    if not leases:
        monkeypatch.setattr(takeover, "_tells", lambda _: False)
    with file.open("r+") as writer:
        takeover.take_over(str(file.parent))
        writer.write("evil")
    assert (file.read_text(), file.stat().st_uid, os.listdir(file.parent)) == ("good", 0, ["file"])


def test_a_mending_that_was_cut_off_leaves_nothing_trusted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hole 5: folders were closed first, and nothing said that what was in them was not compared yet."""
    model = Path(layout.models, "sha256-" + "0" * 64, "m.gguf")
    model.parent.mkdir()
    model.write_text("planted")
    os.chmod(layout.models, 0o777)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mend, "not_what_they_say", cut)
        with pytest.raises(KeyboardInterrupt):
            mended(layout)

    assert "is being mended, or was not to the end" in str(guard.fault(layout))
    assert [*mended(layout)["aside"]] == [str(model.parent)]
    assert guard.fault(layout) is None


def test_mending_goes_on_where_nobody_listens_and_not_beside_a_transaction(layout: Layout) -> None:
    """Holes 5 and 13: an output that was closed cut it off; and a deploy went on in what was moved."""
    os.chmod(layout.history, 0o777)
    lock = Lock(layout.lock)
    assert lock.take({"who": "ann"})
    with pytest.raises(Failure, match="a transaction of this project is running"):
        mended(layout)
    lock.release()

    def gone(_: object) -> None:
        raise BrokenPipeError

    os.chmod(layout.history, 0o777)
    mend.mend(layout, Supervisord(layout), guard.fault(layout), gone)
    assert guard.fault(layout) is None


def _release(layout: Layout) -> Path:
    folder = Path(layout.releases, "new")
    folder.mkdir()
    (folder / "app.py").write_text("1")
    document: dict[str, Any] = {"format": 1, "models": {}}
    name = tree.release_id(canonical(document), tree.digest(str(folder))[0])
    files.write_json(str(folder / "release.json"), document)
    return folder.rename(folder.with_name(name))


def test_what_a_service_of_root_s_writes_into_its_release_ends_nothing(layout: Layout) -> None:
    """Hole 7: a release with __pycache__ was taken for another one, set aside, and all services ended."""
    release = _release(layout)
    compiled = release / "__pycache__" / "app.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_text("perhaps planted")
    os.chmod(layout.releases, 0o777)
    assert mended(layout)["aside"] == {}
    assert not compiled.exists()

    (release / "data.db").write_text("the service's")
    os.chmod(layout.history, 0o777)
    events: list[dict[str, Any]] = []
    assert mended(layout, events)["aside"] == {}
    (warning,) = [event["text"] for event in events if event["event"] == "warning"]
    assert warning.startswith(f"{release} is not what it was")

    os.chmod(layout.releases, 0o777)  # now others may have moved what is in it
    assert [*mended(layout)["aside"]] == [str(release)]


def test_mending_leaves_the_services_data_where_it_is_and_takes_links_out_of_their_logs(layout: Layout) -> None:
    """Hole 8: `shared`, given to the services' account, was moved away from under them with all their data."""
    data = Path(layout.shared, "data", "rows")
    data.parent.mkdir()
    data.write_text("1")
    os.symlink("/etc/passwd", os.path.join(layout.logs, "web.log"))
    os.makedirs(os.path.join(layout.prepared, "x"))
    for path in (layout.shared, layout.logs, str(data), layout.prepared, os.path.join(layout.logs, "web.log")):
        os.chown(path, _SOMEBODY, _SOMEBODY, follow_symlinks=False)

    assert {*mended(layout)["aside"]} == {layout.prepared, os.path.join(layout.logs, "web.log")}
    assert (data.read_text(), data.stat().st_uid) == ("1", _SOMEBODY)
    assert (os.stat(layout.shared).st_uid, os.stat(layout.logs).st_uid) == (0, 0)


def test_what_is_not_the_project_s_to_change_is_left_to_a_person(layout: Layout) -> None:
    """Holes 9 and 10: somebody's home was moved away, and folders above were closed to whom they were meant for."""
    above = os.path.dirname(layout.root)
    for path, spoil, remedy in (
        (above, lambda: os.chmod(above, 0o777), "chmod go-w"),
        (layout.root, lambda: os.chown(layout.root, _SOMEBODY, -1), "chown -h root"),
        (guard.host_folder(), lambda: os.chown(guard.host_folder(), _SOMEBODY, -1), "chown -h root"),
    ):
        spoil()
        with pytest.raises(Failure, match="can't be trusted") as refusal:
            mended(layout)
        assert refusal.value.next_step.startswith(f"by hand: {remedy} {path}; ")
        assert not os.path.exists(layout.mending)
        os.chmod(above, 0o755)
        os.chown(path, 0, -1)
    assert guard.fault(layout) is None


def test_what_is_on_a_file_system_of_its_own_is_set_aside_there(layout: Layout) -> None:
    """Hole 11: a move to another file system failed, and the mending with it; a mount can't be moved at all."""
    subprocess.run(["mount", "-t", "tmpfs", "none", layout.models], check=True)
    try:
        model = Path(layout.models, "sha256-" + "0" * 64)
        model.mkdir()
        os.chown(model, _SOMEBODY, -1)
        (place,) = mended(layout)["aside"].values()
        assert (os.path.dirname(place), guard.fault(layout)) == (layout.models, None)
        os.chown(layout.models, _SOMEBODY, -1)
        with pytest.raises(Failure, match="is a mount"):
            mended(layout)
    finally:
        subprocess.run(["umount", layout.models], check=True)


def test_uploads_and_what_is_being_removed_stay(layout: Layout) -> None:
    """Holes 12 and 15: an upload is the login account's, and so may be what is being removed."""
    for name in (".incoming-1", ".trash-1"):
        path = os.path.join(layout.releases, name)
        os.mkdir(path)
        os.chown(path, _SOMEBODY, -1)
    assert guard.fault(layout) is None
    os.chmod(layout.history, 0o777)
    assert mended(layout)["aside"] == {}


def test_a_folder_that_cannot_be_looked_into_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hole 16: root's project ended in a traceback for everybody else."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("DEPLOY_STATE_DIR", folder)
        os.chmod(folder, 0o755)
        layout = Layout(os.path.join(folder, "app"))
        create(layout)
        os.seteuid(_SOMEBODY)
        try:
            found = guard.fault(layout)
        finally:
            os.seteuid(0)
    assert str(found) == f"{layout.private} cannot be looked at: Permission denied"


def test_a_group_that_is_root_s_alone_is_nobody_else(layout: Layout) -> None:
    """Hole 17: a folder of root:root that its group may write to was refused."""
    os.chmod(layout.history, 0o775)
    assert guard.fault(layout) is None
    os.chown(layout.history, 0, _SOMEBODY)
    assert "may be written to by its group" in str(guard.fault(layout))


def test_a_default_acl_above_lets_nobody_in(layout: Layout, tmp_path: Path) -> None:
    """Hole 14: what was unpacked below one was its group's to write to, so each deploy ended with a damaged agent."""
    everything = [(1, 7, 0xFFFFFFFF), (4, 7, 0xFFFFFFFF), (0x20, 5, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in everything)
    os.setxattr(tmp_path, "system.posix_acl_default", acl)
    new = Layout(str(tmp_path / "above" / "new"))
    header = {"path": new.root, "agent": loader.digest(), "version": "1", "heartbeat": 9, "install": True}
    size = json.dumps({"size": len(loader.package())})
    said = subprocess.run(
        [*loader.command(sys.executable)],
        input=f"{json.dumps(header)}\n{size}\n".encode() + loader.package(),
        capture_output=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, b"")
    create(new)
    assert guard.fault(new) is None
    assert os.listdir(new.agents) == [loader.digest()]


def test_an_agent_that_finds_no_room_says_so(layout: Layout) -> None:
    """Hole 25: a full disk was "the agent ended early"."""
    header = {"path": layout.root, "agent": loader.digest(), "version": "1", "heartbeat": 9, "install": True}
    size = json.dumps({"size": len(loader.package())})
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", layout.agents], check=True)
    try:
        said = subprocess.run(
            [*loader.command(sys.executable)],
            input=f"{json.dumps(header)}\n{size}\n".encode() + loader.package(),
            capture_output=True,
            check=False,
        )
        assert os.listdir(layout.agents) == []
    finally:
        subprocess.run(["umount", layout.agents], check=True)
    last = json.loads(said.stdout.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("error", "refused")
    assert last["what"].startswith(f"the agent can't be unpacked on the host: {layout.agents}: No space left")

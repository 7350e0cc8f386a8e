"""What others have planted on a host, in another project's folder or in an upload, is neither believed nor followed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.agent import content, files, models, moved, processes, supervision, takeover
from provision.agent import state as states
from provision.agent.booted import boot_id
from provision.agent.folders import STATE_DIR_VARIABLE, create
from provision.agent.supervisors import LOG_BYTES, docker_engine, open_supervisor
from provision.contract.failure import Failure
from provision.contract.layout import Layout
from provision.contract.state import Program, State

_NOBODY = 65534
_SHA = "a" * 64


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project of ours on a host of its own."""
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    made = Layout(str(tmp_path / "good"))
    create(made)
    return made


@pytest.fixture
def running() -> Iterator[int]:
    """The pid of a process that no project has started."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def give(folder: str, uid: int) -> None:
    for parent, _, names in os.walk(folder):
        for path in [Path(parent), *(Path(parent, name) for name in names)]:
            os.chown(path, uid, uid, follow_symlinks=False)


def other(layout: Layout, pid: int) -> Layout:
    """Another project on the same host, which says that `pid` is a program of its own that takes ages to stop."""
    made = Layout(str(Path(layout.root).with_name("other")))
    create(made)
    Path(made.launchers("web")).mkdir()
    record = {"boot": boot_id(), "programs": {"web": [pid, processes.start_time(pid)]}}
    files.write_json(f"{made.private}/processes.json", record)
    files.write_json(made.state, State(platform="supervisord").as_dict())
    projects = Path(os.environ[STATE_DIR_VARIABLE], "projects")
    projects.mkdir(parents=True)
    (projects / "other.json").write_text(json.dumps({"root": made.root, "platform": "supervisord"}))
    return made


def restored(layout: Layout) -> list[str]:
    """What is warned of when a supervisord that was killed is started again."""
    events: list[dict[str, Any]] = []
    supervisor = open_supervisor(layout, "supervisord")
    try:
        supervision.restore(layout, supervisor, events.append)
        assert not supervisor.gone()
    finally:
        pidfile = Path(os.environ[STATE_DIR_VARIABLE], "supervisord", "supervisord.pid")
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
    return [event["text"] for event in events if event["event"] == "warning"]


@pytest.mark.root
def test_nothing_that_another_project_says_is_believed_if_others_could_have_written_it(
    layout: Layout, running: int
) -> None:
    """Hole 1: where root's supervisord was killed, a deploy of one project ended what another one's folder named."""
    give(other(layout, running).root, _NOBODY)

    (warning,) = restored(layout)

    assert "other can't be trusted" in warning
    assert processes.alive(running)


@pytest.mark.parametrize(
    "said", ["[]", '{"format": 1, "programs": {"web": {"what": 1}}}', '{"format": 1, "programs": 7}']
)
def test_a_project_that_is_broken_is_no_reason_to_fail_for_another_one(layout: Layout, running: int, said: str) -> None:
    """Hole 7: supervisord is started again, whatever the state of a neighbour holds."""
    Path(other(layout, running).state).write_text(said)

    (warning,) = restored(layout)

    assert "has to be mended" in warning


@pytest.mark.root
def test_a_link_in_place_of_what_an_older_version_left_of_a_model_is_not_followed(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hole 1: root moved every file of the folder that the login account had linked there into that account's own."""
    monkeypatch.setenv("SUDO_UID", str(_NOBODY))
    kept = tmp_path / "etc" / "shadow"
    kept.parent.mkdir()
    kept.write_text("root's own")
    folder = Path(layout.incoming_model(_SHA))
    folder.mkdir()
    (folder / ".rsync-partial").symlink_to(kept.parent)
    give(str(folder), _NOBODY)

    assert models.receive(layout, _SHA) == str(folder)

    assert kept.read_text() == "root's own"
    assert folder.stat().st_uid == 0  # nobody else can put anything there until it is given back
    (folder / ".rsync-partial").unlink()
    (folder / ".rsync-partial").mkdir()
    (folder / ".rsync-partial" / "model.gguf").write_text("half")
    takeover.give_back(str(folder), _NOBODY)
    assert (folder / ".rsync-partial").stat().st_uid == _NOBODY
    models.receive(layout, _SHA)
    assert [path.name for path in folder.iterdir()] == ["model.gguf"]


@pytest.mark.root
def test_a_folder_that_was_taken_over_by_half_is_taken_over_wholly(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hole 1: it is ours, so it was believed; and what is in it was the login account's still."""
    monkeypatch.setenv("SUDO_UID", str(_NOBODY))
    folder = Path(layout.incoming_model(_SHA))
    (folder / "within").mkdir(parents=True)
    give(str(folder / "within"), _NOBODY)

    assert takeover.take_over(str(folder)) == _NOBODY

    assert (folder / "within").stat().st_uid == 0


def test_removing_a_folder_follows_no_link(tmp_path: Path) -> None:
    """Hole 1: modes were changed by paths, in folders that others may write to."""
    kept, doomed = tmp_path / "kept", tmp_path / "doomed"
    kept.mkdir(mode=0o500)
    (doomed / "read-only").mkdir(parents=True)
    (doomed / "read-only" / "link").symlink_to(kept)
    (doomed / "read-only").chmod(0o500)
    (tmp_path / ".trash-doomed").symlink_to(kept)

    files.remove_tree(str(doomed))

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.stat().st_mode & 0o777 == 0o500


def test_an_upload_counts_by_its_own_bytes_and_may_end_meanwhile(layout: Layout, tmp_path: Path) -> None:
    """Hole 9: the facts failed where a model got its name while they were asked for."""
    (tmp_path / "large").write_bytes(b"x" * 1000)
    folder = Path(layout.incoming_model(_SHA))
    folder.mkdir()
    (folder / "model").write_bytes(b"half")
    (folder / "gone").symlink_to("nowhere")

    links = len("nowhere")
    assert models.arrived(layout) == {_SHA: 4 + links}


def test_a_supervisord_whose_file_was_renamed_is_the_one_that_the_target_names(layout: Layout, tmp_path: Path) -> None:
    """Hole 2, its kind: status, logs, up and down alike ended with "old.conf can't be read"."""
    there = tmp_path / "new.conf"
    there.write_text("[unix_http_server]\nfile=/run/it.sock\n[include]\nfiles=conf.d/*.conf\n")
    files.write_json(f"{layout.private}/supervisor.json", {"config": str(tmp_path / "old.conf")})
    asked = open_supervisor(layout, "supervisord", {"config": str(there)})
    program = Program("web", "stable", "", "r", "l", "f")
    state = State(platform="supervisord", programs={"web": program})

    assert moved.serving(layout, state, asked) is asked
    moved.check(layout, state, asked)
    with pytest.raises(Failure, match=r"old\.conf can't be read"):  # nobody would end what that one has
        moved.check(layout, state, open_supervisor(layout, "systemd"))


def test_a_release_that_a_process_works_in_is_needed_however_its_folder_is_reached(
    layout: Layout, tmp_path: Path
) -> None:
    """Hole 9: below a link, the kernel tells where a process is by another path than ours."""
    (tmp_path / "link").symlink_to(layout.root)
    linked = Layout(str(tmp_path / "link"))
    Path(linked.release(_SHA)).mkdir()
    told = {**os.environ, "WHERE": layout.run + "/web/launch/secret"}
    with subprocess.Popen(["sleep", "1000"], cwd=linked.release(_SHA), env=told) as process:
        try:
            assert content.needed(linked, 0, open_supervisor(linked, "supervisord")) == {_SHA}
            assert processes.is_told(linked.run)
        finally:
            process.kill()


def test_the_way_back_leads_to_no_release_of_another_project(layout: Layout) -> None:
    """Hole 2: of a rename under an older version the history says nothing, the releases do."""
    projects = {"1": "old", "2": "old", "3": "new", "4": "new"}
    for number, project in projects.items():
        Path(layout.release(number)).mkdir()
        files.write_json(layout.document(number), {"project": project, "platform": "systemd"})
    history = [{"kind": "up", "channels": {"stable": number}} for number in projects]

    def back(current: str, platform: str = "systemd") -> str | None:
        state = State(project="new", platform=platform, channels={"stable": current})
        return states.way_back(layout, state, history[: int(current)])

    assert (back("4"), back("3")) == ("3", None)
    assert back("4", platform="supervisord") is None
    shutil.rmtree(layout.releases)
    assert back("3") == "2"  # it is not on the host, which is said when it is asked for


def test_of_a_container_s_log_no_more_is_held_than_is_told() -> None:
    """Hole 6, its kind: a container that writes lines without an end filled the memory of its host."""
    pieces = [b"x" * (3 * LOG_BYTES), b"\nthe last line\n", b""]
    log = b"".join(b"\1\0\0\0" + len(piece).to_bytes(4, "big") + piece for piece in pieces)

    told = docker_engine.frames(io.BytesIO(log + b"\1\0"))

    assert len(told) == LOG_BYTES
    assert told.endswith(b"x\nthe last line\n")

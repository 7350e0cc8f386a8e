"""With a person at a terminal."""

import os
import pty
import select
import subprocess
import time

from tests.cli.conftest import DEPLOY


def talk(project, *words, answers):
    """Run a verb on a terminal and type each answer when its question appears; exit code and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DEPLOY, *words],
        cwd=project.root,
        env={**os.environ, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting, deadline = "", list(answers), time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other end was closed: it has ended
            break
        shown += data.decode(errors="replace")
        if waiting and waiting[0][0] in shown:
            os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
    os.close(ours)
    return process.wait(10), shown


def test_a_key_is_pinned_once_a_person_has_agreed(project):
    code, shown = talk(project, "host", "trust", answers=[("Is that its key?", "y")])
    assert code == 0, shown
    assert "pinned SHA256:" in shown
    assert "127.0.0.1" in (project.root / "known_hosts").read_text()


def test_a_key_that_a_person_does_not_know_is_not_pinned(project):
    code, shown = talk(project, "host", "trust", answers=[("Is that its key?", "n")])
    assert code == 4, shown
    assert "nothing was pinned" in shown
    assert not (project.root / "known_hosts").exists()


def test_init_asks_for_a_name_and_a_place_and_proposes_both(project):
    (project.root / "deploy.toml").unlink()
    code, shown = talk(
        project,
        "init",
        answers=[("Name of the project [project]", "mine"), ("[user@]host[:port]", "ann@gpu.example.net")],
    )
    assert code == 0, shown
    written = (project.root / "deploy.toml").read_text()
    assert 'name = "mine"' in written
    assert 'hosts = ["ann@gpu.example.net"]' in written

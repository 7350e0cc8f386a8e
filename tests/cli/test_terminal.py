"""With a person at a terminal."""

import os
import pty
import select
import subprocess
import time

from tests.cli.conftest import DEPLOY


def talk(project, *words, answers, **environ):
    """Run a verb on a terminal and type each answer when its question appears; exit code and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DEPLOY, *words],
        cwd=project.root,
        env={**project._environ, "TERM": "dumb", **environ},
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


def test_a_command_has_this_terminal_its_size_and_its_keys(project):
    """And a log beside others has a colour of its own, in which nothing that it says itself is obeyed."""
    declared = (project.root / "deploy.toml").read_text()
    worker = '[services.worker]\ncommand = ["sh", "-c", "printf \'\\\\033[2Jx\\\\n\'; exec sleep 1000"]\n[targets'
    (project.root / "deploy.toml").write_text(declared.replace("[targets", worker, 1))
    project.ok("up")

    shell = ["exec", "--service", "web", "--", "sh", "-c"]
    code, shown = talk(
        project, *shell, 'tty; stty size; echo "name?"; read name; exit "$name"', answers=[("name?", "7")]
    )
    assert code == 7, shown
    assert "/dev/pts/" in shown
    assert "24 80" in shown

    code, shown = talk(project, *shell[:1], "-T", *shell[1:], "tty; printf '\\033[2J'", answers=[])
    assert (code, "not a tty" in shown, "\\x1b[2J" in shown) == (0, True, True), shown
    assert "\x1b" not in shown

    code, shown = talk(project, "logs", answers=[], TERM="xterm")
    assert code == 0
    assert "\x1b[33mworker | \x1b[0m\\x1b[2Jx" in shown
    assert "\x1b" not in talk(project, "logs", answers=[], TERM="xterm", NO_COLOR="1")[1]
    assert project.ok("logs", "worker") == "\x1b[2Jx\n"


def test_a_login_is_in_the_folder_of_the_release(project):
    project.ok("up")
    code, shown = talk(project, "ssh", answers=[("$" if os.getuid() else "#", "pwd; exit 7")], SHELL="/bin/sh")
    assert code == 7, shown
    assert f"{project.place}/releases/" in shown

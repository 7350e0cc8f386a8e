"""Whatever the account's shell is, and whatever its start-up files do: commands are run, or it is said why not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.errors import DeployError, Unreachable
from provision.hosts import HostConnection, connect, login_shell, parse_hosts
from tests.testbed import TestHost

WORDS = ["a b", "", "~", "*", "$HOME `id`", "é", "!x", "'\"\\", "%d%%", "two\nlines", "ends\n", "\\041", "\t"]
ECHO = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:]))); sys.stderr.write('end')"
NOISE = """
echo Welcome; echo 42; echo '{"event": "result", "host": 7}'; echo null; echo '[]'; printf 'no newline'
printf '\\033[32mOK\\033[0m' >&2
"""
TMUX = """
[ -f ~/.no_auto_tmux ] || { echo 'open terminal failed: not a terminal' >&2; exit 1; }
"""

Account = Callable[..., HostConnection]


@pytest.fixture
def account(supervisord_host: TestHost, tmp_path: Path) -> Iterator[Account]:
    """Logs in as `ann`, who has this shell and this start-up file."""
    host, opened = supervisord_host, []

    def log_in(shell: str = "/bin/bash", start: str = "", file: str = ".bashrc") -> HostConnection:
        host.exec(["usermod", "--shell", shell, "ann"])
        host.write(f"/home/ann/{file}", start, owner="ann")
        pins = tmp_path / "known_hosts"
        pins.write_text(f"{host.address} {host.host_key}\n")
        (spec,) = parse_hosts([f"ann@{host.address}"], identity=host.identity, known_hosts=[pins])
        opened.append(connect(spec))
        return opened[-1]

    before = host.exec(["cat", "/home/ann/.bashrc"]).stdout
    yield log_in
    for connection in opened:
        connection.close()
    host.exec(["usermod", "--shell", "/bin/bash", "ann"])
    host.write("/home/ann/.bashrc", before, owner="ann")
    host.exec(["rm", "-f", "/home/ann/.tcshrc"])


@pytest.mark.parametrize(
    ("shell", "file", "start"),
    [
        ("/bin/sh", ".profile", ""),
        ("/bin/bash", ".bashrc", NOISE),
        ("/bin/bash", ".bashrc", NOISE + "set -xv\ntrap 'echo bye; echo 0' EXIT\nalias printf=false exec=false\n"),
        ("/usr/bin/tcsh", ".tcshrc", ""),
        ("/usr/bin/tcsh", ".tcshrc", "echo Welcome\necho 0\n"),
    ],
)
def test_a_command_is_run_word_for_word_and_alone_is_heard(
    account: Account, shell: str, file: str, start: str, tmp_path: Path
) -> None:
    """Issue 13, 14: what start-up files print is skipped on both streams, rsync's too; csh gets one line."""
    host = account(shell, start, file)
    done = host.run(["python3", "-c", ECHO, *WORDS])
    assert (done.rc, done.stdout.decode().split("\0"), done.stderr) == (0, WORDS, b"end")
    assert host.run(["cat"], input=b"in\n").stdout == b"in\n"
    assert host.run(["no-such-program"]).rc == 127
    (tmp_path / "file").write_text("content")
    assert host.rsync(tmp_path, ["file"], f"/home/ann/{tmp_path.name}").files_sent == 1


@pytest.mark.parametrize(
    ("shell", "start", "words", "next_step"),
    [
        ("/usr/sbin/nologin", "", "This account is currently not available", "an account that has a shell"),
        ("/bin/bash", TMUX, "open terminal failed: not a terminal", "touch ~/.no_auto_tmux"),
        ("/bin/bash", "echo 0\nexit 3\n", "0", "`exit` in ~/.bashrc"),
        ("/bin/bash", "exit\n", "It said nothing", "`exit` in ~/.bashrc"),
    ],
)
def test_a_shell_that_runs_nothing_is_named_in_its_own_words(
    account: Account, shell: str, start: str, words: str, next_step: str, tmp_path: Path
) -> None:
    """Issue 13, 14: nologin, `exit`, tmux for everybody."""
    host = account(shell, start)
    (tmp_path / "file").touch()
    for act in (
        lambda: host.run(["true"]),
        lambda: host.run(["cat"], input=b"x" * 5_000_000),
        lambda: host.rsync(tmp_path, ["file"], "/home/ann/x"),
    ):
        with pytest.raises(DeployError, match="its login shell ended without running what was asked") as caught:
            act()
        assert words in caught.value.why
        assert next_step in caught.value.next_step


@pytest.mark.parametrize(
    ("start", "said"), [("while :; do echo hello; sleep 0.1; done", "hello hello"), ("yes endless", "endless endless")]
)
def test_a_shell_that_prints_for_ever_meets_a_deadline(
    account: Account, start: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 13, 14: a line now and then for ever, or as many as fit."""
    monkeypatch.setattr(login_shell, "PATIENCE_SECONDS", 1.0)
    with pytest.raises(Unreachable, match="did not begin what was asked") as caught:
        account("/bin/bash", start).run(["true"], timeout=30)
    assert said in caught.value.why


def test_the_line_for_the_shell_holds_nothing_that_shells_read_differently() -> None:
    line = login_shell.line(WORDS)
    (begin, inside, end) = line.split("'")
    assert (begin, end) == ("exec sh -c ", "")
    assert not set(inside) & set("!\n`~*?[]{}<>|&") and "\\\\" not in inside
    said = subprocess.run(["sh", "-c", login_shell.line(["printf", "%s", "done"])], capture_output=True, check=True)
    assert (said.stdout, said.stderr) == (login_shell.MARK + b"done", login_shell.MARK)

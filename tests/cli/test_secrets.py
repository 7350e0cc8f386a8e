"""`deploy secrets`, through the real command line: names and places are shown, values never."""

from __future__ import annotations

import os
import pty
import stat
import subprocess

from tests.cli.conftest import DEPLOY, of

DECLARED = """\
env = { URL = "https://me:${TOKEN}@example.net" }
secrets = ["TOKEN", "OTHER"]
"""
GIVEN = """\
[secrets.OTHER]
command = ["printf", "from-a-command"]
[prepare]
command = ["true"]
secrets = ["OTHER"]
"""


def declare(project, env=""):
    project.write(extra=DECLARED)
    with (project.root / "deploy.toml").open("a") as file:
        file.write(GIVEN)
    (project.root / ".env").write_text(env)
    (project.root / ".env").chmod(0o600)


def test_list_names_each_secret_its_source_and_where_it_is_used(project):
    declare(project, "TOKEN=sk-value\n")
    assert project.ok("secrets", "list").splitlines() == [
        "OTHER  command: printf from-a-command  prepare.secrets[0], services.web.secrets[1]",
        "TOKEN  .env                            services.web.secrets[0], services.web.env.URL",
    ]
    assert project.events("secrets", "list")[1] == {
        "event": "secret",
        "name": "TOKEN",
        "from": ".env",
        "uses": ["services.web.secrets[0]", "services.web.env.URL"],
    }


def test_a_secret_without_a_value_is_named_with_the_command_that_gives_it_one(project):
    declare(project)
    done = project.run("secrets", "list")
    assert "TOKEN  not set" in done.stdout
    assert done.stderr == "next: deploy secrets set TOKEN\n"
    missing = project.run("secrets", "check")
    assert missing.returncode == 2
    assert "services.web.secrets[0]: TOKEN is not set." in missing.stderr


def test_set_takes_standard_input_and_the_value_is_shown_by_nobody(project):
    declare(project, "# mine\nTOKEN=old # why\n")
    (project.root / ".env").chmod(0o644)
    done = subprocess.run(
        [*DEPLOY, "secrets", "set", "TOKEN"], cwd=project.root, input="it's new\n", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "TOKEN is set in .env\n")
    assert (project.root / ".env").read_text() == '# mine\nTOKEN="it\'s new"  # why\n'
    assert stat.S_IMODE((project.root / ".env").stat().st_mode) == 0o600
    checked = project.run("secrets", "check")
    assert checked.stdout == "2 secrets, each with a value: OTHER, TOKEN.\n"
    said = done.stderr + checked.stderr + project.ok("secrets", "list")
    assert not any(value in said for value in ("it's new", "from-a-command\n"))


def test_set_asks_a_person_without_showing_what_is_typed(project):
    declare(project)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*DEPLOY, "secrets", "set", "TOKEN"], cwd=project.root, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        while b"TOKEN" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, b"typed-value\n")
        assert process.wait(30) == 0
        seen += os.read(ours, 65536)
    os.close(ours)
    assert b"typed-value" not in seen
    assert (project.root / ".env").read_text() == "TOKEN=typed-value\n"


def test_check_warns_of_a_file_that_others_may_read_or_that_git_keeps(project):
    declare(project, "TOKEN=x\n")
    (project.root / ".env").chmod(0o640)
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    subprocess.run(["git", "add", "-f", ".env"], cwd=project.root, check=True)
    texts = [event["text"] for event in of(project.events("secrets", "check"), "warning")]
    assert [text.partition(":")[2] for text in texts] == [" git rm --cached .env", " chmod 600 .env"]


def test_what_is_no_name_or_nothing_is_refused(project):
    assert project.run("secrets", "set", "a-b").returncode == 2
    empty = project.run("secrets", "set", "TOKEN")  # standard input is /dev/null there
    assert (empty.returncode, empty.stderr.splitlines()[0]) == (2, "standard input is empty; nothing was written.")
    assert not (project.root / ".env").exists()

"""Launchers under the shells that hosts have as /bin/sh."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given

from provision.agent import launch
from provision.agent.launch import STARTS_BYTES
from provision.errors import UnencodableValue
from provision.manifests.value import LONGEST_STRING
from tests.manifests.projects import dollars_doubled, install, project, service
from tests.manifests.values import ECHO, Echo, batches, examples, texts

SHELLS = {"dash": ("dash",), "busybox": ("busybox", "sh"), "bash": ("bash", "--posix")}


def launched(
    declared: Mapping[str, object], path: Path, shell: Sequence[str] = ("sh",), inherited: dict[str, str] | None = None
) -> Echo:
    """What a service's program is told when `shell` runs the launcher."""
    launcher = install(service(project({"web": declared}, path=path), "web"), path)
    done = subprocess.run(
        [*shell, launcher],
        env={"PATH": os.environ["PATH"], **(inherited or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return Echo.of(done.stdout)


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@examples(20)
@given(values=batches(texts()))
def test_every_value_reaches_the_program_byte_for_byte(shell: Sequence[str], values: list[str]) -> None:
    written = [dollars_doubled(value) for value in values]
    declared = {"command": [*ECHO, *written], "env": {f"V{at}": value for at, value in enumerate(written)}}

    with tempfile.TemporaryDirectory() as folder:
        told = launched(declared, Path(folder), shell)

    assert told.argv == values
    assert [told.env[f"V{at}"] for at in range(len(values))] == values


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_names_that_a_shell_keeps_for_itself_are_set_all_the_same(shell: Sequence[str], tmp_path: Path) -> None:
    names = ["UID", "EUID", "PPID", "OPTIND", "LINENO", "SECONDS", "RANDOM", "SHELLOPTS", "BASH_VERSINFO", "BASH_ENV"]
    names += [
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "IFS",
        "PS4",
        "ENV",
        "LANG",
        "HOME",
        "MAIL",
        "TERM",
        "HISTSIZE",
        "FUNCNAME",
    ]
    values = {name: f"it's {name} ; $x" for name in names}

    told = launched({"command": ECHO, "env": {name: dollars_doubled(values[name]) for name in names}}, tmp_path, shell)

    assert {name: told.env[name] for name in names} == values


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_the_longest_values_that_a_process_can_have_arrive_whole(shell: Sequence[str], tmp_path: Path) -> None:
    longest = "x" * LONGEST_STRING
    declared = {"command": [*ECHO, longest], "env": {"LONG": longest[len("LONG=") :]}}

    told = launched(declared, tmp_path, shell)

    assert told.argv == [longest]
    assert len(told.env["LONG"]) == LONGEST_STRING - len("LONG=")


@pytest.mark.parametrize(
    ("declared", "subject", "reason"),
    [
        (
            {"command": ["x"], "env": {"A": "é" * (LONGEST_STRING // 2)}},
            "services.web.env.A",
            "131070 bytes",
        ),
        ({"command": ["x", "y" * (LONGEST_STRING + 1)]}, "services.web.command", "131072 bytes"),
        ({"command": ["x"], "env": {"A": "\ud800"}}, "services.web.env.A", "half a character"),
        ({"command": ["x", *["y" * 100_000] * 20]}, "services.web", "2000169 bytes together"),
        ({"command": ["-x"]}, "services.web.command", 'cannot begin with "-"'),
        ({"command": [""]}, "services.web.command", "cannot be empty"),
        ({"command": ["a=b"], "env": {"UID": "1"}}, "services.web.command", 'holds "="'),
    ],
)
def test_what_no_process_can_be_given_is_refused_by_name(
    declared: dict[str, object], subject: str, reason: str
) -> None:
    with pytest.raises(UnencodableValue, match=reason) as refused:
        service(project({"web": declared}), "web")

    assert refused.value.subject == subject


def test_the_program_takes_over_the_process_of_the_launcher(tmp_path: Path) -> None:
    launcher = install(service(project({"web": {"command": ECHO}}, path=tmp_path), "web"), tmp_path)

    with subprocess.Popen([launcher], stdout=subprocess.PIPE, text=True) as process:
        told = Echo.of(process.communicate()[0])

    assert told.pid == process.pid


def test_the_program_runs_in_its_release_and_pwd_says_so(tmp_path: Path) -> None:
    told = launched({"command": ECHO}, tmp_path)

    assert told.cwd == told.env["PWD"] == str(tmp_path / "releases" / "id")


def test_secrets_come_from_the_file_beside_the_launcher(tmp_path: Path) -> None:
    declared = project({"web": {"command": ECHO, "secrets": ["TOKEN"]}}, path=tmp_path)
    launcher = install(service(declared, "web"), tmp_path)
    (launcher.parent / "secrets").write_text("export TOKEN='s3cret $x'\n")

    told = Echo.of(subprocess.run([launcher], stdout=subprocess.PIPE, text=True, check=True).stdout)

    assert told.env["TOKEN"] == "s3cret $x"
    assert "s3cret" not in launcher.read_text()


def test_a_launcher_whose_secrets_are_missing_starts_nothing(tmp_path: Path) -> None:
    declared = project({"web": {"command": ECHO, "secrets": ["TOKEN"]}}, path=tmp_path)
    launcher = install(service(declared, "web"), tmp_path)

    done = subprocess.run([launcher], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""
    assert "secrets" in done.stderr


def test_a_secret_that_is_a_file_is_found_by_its_path_in_the_very_launch_that_was_started(tmp_path: Path) -> None:
    command = [*ECHO, "--key=${secret_files.KEY}"]
    declared = project({"web": {"command": command, "secret_files": ["KEY"]}}, path=tmp_path)
    launcher = install(service(declared, "web"), tmp_path)
    key = launcher.parent.resolve() / "secret-files" / "KEY"
    key.parent.mkdir()

    told = Echo.of(subprocess.run([launcher], stdout=subprocess.PIPE, text=True, check=True).stdout)

    assert told.env["KEY_FILE"] == str(key)
    assert told.argv == [f"--key={key}"]
    assert "KEY" not in told.env


@pytest.mark.parametrize("platform", ["supervisord", "systemd"])
def test_a_launcher_whose_secret_files_are_missing_starts_nothing(platform: str, tmp_path: Path) -> None:
    declared = project({"web": {"command": ECHO, "secret_files": ["KEY"]}}, path=tmp_path, platform=platform)
    launcher = install(service(declared, "web"), tmp_path)

    done = subprocess.run([launcher], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""
    assert ("systemd 247 or newer" if platform == "systemd" else "secret-files") in done.stderr


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    declared = project({"web": {"command": ["no-such-program"]}}, path=tmp_path)

    done = subprocess.run([install(service(declared, "web"), tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def starts(path: Path) -> Path:
    """The file in which a launcher notes its starts, as the host's part makes it."""
    file = path / ".deploy" / "run" / "web" / "one" / "starts"
    file.write_text(" " * STARTS_BYTES + "\n")
    return file


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_the_last_starts_are_noted_newest_first_in_a_file_that_never_grows(
    shell: Sequence[str], tmp_path: Path
) -> None:
    launcher = install(service(project({"web": {"command": ["true"]}}, path=tmp_path), "web"), tmp_path)
    file, pids, began = starts(tmp_path), [], int(time.time())
    for _ in range(20):
        process = subprocess.Popen([*shell, launcher])
        assert process.wait() == 0
        pids.insert(0, process.pid)

    noted = [word.split(":") for word in launch.starts(str(file.parent))]

    assert file.stat().st_size == STARTS_BYTES + 1
    assert len(noted) > 10
    assert [int(pid) for _, pid in noted] == pids[: len(noted)]
    assert all(began <= int(when) <= time.time() for when, _ in noted)


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("what", ["missing", "a folder", "no text"])
def test_a_start_that_cannot_be_noted_is_a_start_all_the_same(shell: Sequence[str], what: str, tmp_path: Path) -> None:
    launcher = install(service(project({"web": {"command": ["echo", "runs"]}}, path=tmp_path), "web"), tmp_path)
    file = launcher.parent / "starts"
    if what == "a folder":
        file.mkdir()
    elif what == "no text":
        file.write_bytes(bytes(range(256)) * 64)

    done = subprocess.run([*shell, launcher], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("runs\n", "")


@pytest.mark.root
def test_a_start_is_noted_on_a_full_disk(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    try:
        launcher = install(service(project({"web": {"command": ["echo", "runs"]}}, path=tmp_path), "web"), tmp_path)
        starts(tmp_path)
        with pytest.raises(OSError, match="No space left"), (tmp_path / "fill").open("wb", buffering=0) as stream:
            while stream.write(b"x" * 4096):
                pass
        done = subprocess.run([launcher], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("runs\n", "")
        assert len(launch.starts(str(launcher.parent.resolve()))) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)

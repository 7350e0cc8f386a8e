import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from provision.contract.names import PARTIAL
from provision.errors import DeployError, Interrupted, Unreachable, UsageError
from provision.hosts import HostConnection, RsyncProgress, connect
from provision.hosts.rsync_output import OutputReader
from provision.hosts.sandbox import Sandbox, processes
from provision.hosts.sandbox.layout import Server
from tests.hosts.lines import CutLine, through

ODD_NAMES = [
    "ümlaut/🙂.py",
    "new\nline",
    "tab\tand space ",
    "#comment",
    ";comment",
    "- minus",
    "--option",
    "*",
    "quo'te\"s",
    "back\\slash",
    "$HOME",
    "deep/er/and/deeper",
]


def make(folder: Path, names: list[str], size: int = 100) -> list[str]:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(size))
    return names


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_four_hundred_files_arrive_and_are_counted(host: HostConnection, files: Path, place: Path) -> None:
    names = make(files, [f"d{number % 7}/f{number}" for number in range(400)], 20_000)
    steps: list[RsyncProgress] = []
    stats = host.rsync(files, names, str(place / "release"), on_progress=steps.append)
    assert content(place / "release") == content(files)
    assert (stats.files, stats.files_sent, stats.bytes_total) == (400, 400, 8_000_000)
    last = steps[-1]
    assert (last.bytes_done, last.percent, last.files_sent) == (8_000_000, 100, 400)
    assert last.files_checked == last.files_total == 400 + 7 + 1
    assert [step.bytes_done for step in steps] == sorted(step.bytes_done for step in steps)


def test_names_are_nothing_but_names(host: HostConnection, files: Path, place: Path) -> None:
    names = make(files, ODD_NAMES)
    host.rsync(files, names, str(place / "a folder; with $HOME"))
    assert content(place / "a folder; with $HOME") == content(files)


def test_a_name_that_is_not_text_arrives(host: HostConnection, files: Path, place: Path) -> None:
    name = os.fsdecode(b"latin-\xfc")
    make(files, [name])
    host.rsync(files, [name], str(place))
    assert [os.fsencode(file.name) for file in place.iterdir()] == [b"latin-\xfc"]


def test_only_the_named_files_go(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["wanted", "secret", "folder/wanted", "folder/secret"])
    host.rsync(files, ["wanted", "folder/wanted"], str(place))
    assert sorted(content(place)) == ["folder/wanted", "wanted"]


def test_modes_links_and_times_are_kept(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["run.sh", "plain"])
    (files / "run.sh").chmod(0o755)
    (files / "plain").chmod(0o600)
    (files / "link").symlink_to("../shared/models/none")
    host.rsync(files, ["run.sh", "plain", "link"], str(place))
    assert stat.S_IMODE((place / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "plain").stat().st_mode) == 0o600
    assert (place / "link").readlink() == Path("../shared/models/none")
    assert (place / "plain").stat().st_mtime == (files / "plain").stat().st_mtime


def test_modes_can_be_set_on_the_way(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["folder/file"])
    (files / "folder/file").chmod(0o600)
    host.rsync(files, ["folder/file"], str(place), chmod="D755,F644")
    assert stat.S_IMODE((place / "folder/file").stat().st_mode) == 0o644


def test_what_the_last_release_has_is_linked_and_not_sent(host: HostConnection, files: Path, place: Path) -> None:
    names = make(files, ["same", "other"], 50_000)
    host.rsync(files, names, str(place / "one"))
    make(files, ["other"], 40_000)
    stats = host.rsync(files, names, str(place / "two"), link_dest=["../one"])
    assert (place / "two/same").stat().st_ino == (place / "one/same").stat().st_ino
    assert (place / "two/other").stat().st_ino != (place / "one/other").stat().st_ino
    assert (stats.files_sent, stats.bytes_literal) == (1, 40_000)
    assert content(place / "two") == content(files)


def test_checksums_find_what_size_and_time_hide(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["file"])
    host.rsync(files, ["file"], str(place))
    times = (files / "file").stat()
    (files / "file").write_bytes(bytes(100))
    os.utime(files / "file", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert host.rsync(files, ["file"], str(place)).files_sent == 0
    assert host.rsync(files, ["file"], str(place), checksum=True).files_sent == 1
    assert content(place) == content(files)


def test_a_big_file_arrives_whole(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["model.gguf"], 50_000_000)
    stats = host.rsync(files, ["model.gguf"], str(place))
    assert stats.bytes_literal == 50_000_000
    assert content(place) == content(files)


def test_a_cut_upload_goes_on_where_it_was(any_sandbox: Sandbox, files: Path, place: Path, tmp_path: Path) -> None:
    make(files, ["model.gguf"], 20_000_000)
    line = CutLine(any_sandbox.spec.port, after=12_000_000)
    with connect(through(any_sandbox.spec, line.port, tmp_path)) as host:
        with pytest.raises(Unreachable, match="the connection broke") as caught:
            host.rsync(files, ["model.gguf"], str(place))
        assert caught.value.next_step == "run the same command again"
    line.close()
    kept = place / PARTIAL / "model.gguf"
    deadline = time.monotonic() + 10
    while not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.05)  # the host's rsync needs a moment to see the cut
    with connect(any_sandbox.spec) as host:
        stats = host.rsync(files, ["model.gguf"], str(place))
    assert stats.bytes_literal < 13_000_000
    assert content(place) == content(files)
    assert [file.name for file in place.iterdir()] == ["model.gguf"]


def test_a_host_without_rsync_offers_bootstrap(tmp_path: Path, files: Path, place: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "rsync").write_text("#!/bin/sh\nno-such-rsync\n")  # what a shell does for a missing command
    (bare / "rsync").chmod(0o755)
    make(files, ["file"])
    with Sandbox(tmp_path / "host", path=[bare]) as sandbox, connect(sandbox.spec) as host:
        with pytest.raises(DeployError, match="rsync is not installed on the host") as caught:
            host.rsync(files, ["file"], str(place))
        assert caught.value.next_step == "deploy host bootstrap sandbox"


def programs(folder: Path, **scripts: str) -> Path:
    """A folder with these programs alone; they need nothing but the shell itself."""
    folder = folder / "programs"
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    return folder


def test_a_laptop_without_rsync_is_told_the_package(
    host: HostConnection, files: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs(tmp_path, dnf="")))
    with pytest.raises(UsageError, match="rsync is not installed on this machine") as caught:
        host.rsync(files, [], str(place))
    assert caught.value.next_step == "dnf install --assumeyes rsync"


def test_a_laptop_with_the_rsync_of_macos_is_told_which_it_has_and_how_to_get_one(
    host: HostConnection, files: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openrsync = """if [ "$1" = --version ]; then echo "openrsync: protocol version 29"; exit; fi
echo "openrsync: unrecognized option --info=progress2,stats2" >&2
exit 1
"""
    monkeypatch.setenv("PATH", str(programs(tmp_path, rsync=openrsync, brew="")))
    make(files, ["file"])
    with pytest.raises(UsageError, match=r"is not the rsync that is needed: version 3\.1 or newer") as caught:
        host.rsync(files, ["file"], str(place))
    assert "It is openrsync: protocol version 29, and says:" in caught.value.why
    assert "unrecognized option --info" in caught.value.why
    assert caught.value.next_step == "brew install rsync"


def test_a_slow_reader_on_either_side_loses_nothing(
    host: HostConnection, files: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rsync with a tree of many files: it makes its pipes wait for nothing, and comes late to read them."""
    rsync = f"""#!{sys.executable}
import shlex, socket, subprocess, sys, time
helper = shlex.split(next(word for word in sys.argv if word.startswith("--rsh="))[len("--rsh="):])
(to_host, given), (from_host, taken) = socket.socketpair(), socket.socketpair()
given.setblocking(False)
taken.setblocking(False)
remote = "head -c 4000000 /dev/zero; sleep 0.5; wc -c"
command = [*helper, "host", "sh", "-c", remote]
child = subprocess.Popen(command, stdin=given, stdout=taken, pass_fds=[int(helper[-1])])
given.close()
taken.close()
time.sleep(0.5)
said = from_host.makefile("rb")
came = said.read(4000000)
to_host.sendall(bytes(5000000))
to_host.shutdown(socket.SHUT_WR)
sys.exit((len(came), int(said.read() or 0), child.wait()) != (4000000, 5000000, 0))
"""
    program = tmp_path / "programs" / "rsync"
    program.parent.mkdir()
    program.write_text(rsync)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    host.rsync(files, [], str(place))


def test_a_folder_called_as_rsyncs_own_arrives(host: HostConnection, files: Path, place: Path) -> None:
    names = make(files, [".rsync-partial/a", "sub/.rsync-partial/b"])
    host.rsync(files, names, str(place))
    assert content(place) == content(files)


def test_links_can_be_followed_and_what_they_lead_to_stays_as_it_is(
    host: HostConnection, files: Path, place: Path
) -> None:
    make(files, ["blob"])
    (files / "model").symlink_to(files / "blob")
    (place / "model").symlink_to(files / "blob")  # as an earlier version left it
    before = (files / "blob").stat()

    host.rsync(files, ["model"], str(place), in_place=True, follow_links=True, chmod="Fu=rw,Fgo=r")

    assert not (place / "model").is_symlink()
    assert (place / "model").read_bytes() == (files / "blob").read_bytes()
    after = (files / "blob").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_place_that_cannot_be_written_is_said_in_rsyncs_words(host: HostConnection, files: Path, place: Path) -> None:
    make(files, ["file"])
    (place / "taken").write_text("")
    with pytest.raises(DeployError, match="rsync failed") as caught:
        host.rsync(files, ["file"], str(place / "taken"))
    assert "taken" in caught.value.why


def test_a_file_that_is_gone_is_named(host: HostConnection, files: Path, place: Path) -> None:
    with pytest.raises(DeployError, match="rsync failed") as caught:
        host.rsync(files, ["gone"], str(place))
    assert "gone" in caught.value.why


def test_an_error_while_showing_progress_ends_rsync(host: HostConnection, files: Path, place: Path) -> None:
    names = make(files, [f"f{number}" for number in range(50)])

    def fail(progress: RsyncProgress) -> None:
        raise RuntimeError("the display broke")

    with pytest.raises(RuntimeError, match="the display broke"):
        host.rsync(files, names, str(place), on_progress=fail)
    deadline = time.monotonic() + 5
    while (left := processes.descendants(os.getpid())) and time.monotonic() < deadline:
        names_left = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if Path(f"/proc/{pid}").exists()]
        if not any(b"rsync" in name and b"--files-from" in name for name in names_left):
            break
        time.sleep(0.05)
    else:
        pytest.fail("rsync still runs")
    assert host.run(["echo", "usable"]).stdout == b"usable\n"


def test_an_rsync_that_ctrl_c_ended_is_an_interruption_and_no_failure(
    host: HostConnection, files: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal goes to the whole group of a terminal, and may come before rsync has a group of its own."""
    program = tmp_path / "programs" / "rsync"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nkill -INT $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))

    with pytest.raises(Interrupted, match="nothing was disturbed"):
        host.rsync(files, [], str(place))


@pytest.mark.parametrize("server", list(Server))
def test_ctrl_c_ends_rsync_and_its_helper(tmp_path: Path, files: Path, place: Path, server: Server) -> None:
    make(files, ["model.gguf"], 3_000_000)
    program = """
        import sys
        from pathlib import Path
        from provision.hosts import connect
        from provision.hosts.sandbox import Sandbox
        with connect(Sandbox.attach(Path(sys.argv[1])).spec) as host:
            print("connected", flush=True)
            host.rsync(Path(sys.argv[2]), ["model.gguf"], sys.argv[3])
    """
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "rsync").write_text("#!/bin/sh\nexec sleep 60\n")  # a host that never answers
    (slow / "rsync").chmod(0o755)
    with Sandbox(tmp_path / "host", path=[slow], server=server) as sandbox:
        command = [sys.executable, "-c", textwrap.dedent(program), *map(str, (sandbox.root, files, place))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        deadline = time.monotonic() + 10
        while len(children := processes.descendants(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(children) == 2
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert b"KeyboardInterrupt" in said
        assert [pid for pid in children if processes.start_time(pid)] == []


def test_progress_is_read_from_what_rsync_prints() -> None:
    reader = OutputReader(None)
    for line in (
        b"          1000  10%    1.00MB/s    0:00:01  ",
        b"     2000  20%  1.00MB/s  0:00:01 (xfr#3, to-chk=5/9)",
    ):
        reader._line(line)
    assert reader._last == RsyncProgress(2000, 20, 3, 4, 9)

"""What a test run leaves behind when it dies is ended by the next one; two runs do not clash."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.testbed import Kind, Slot, TestHost, slots, take_slot
from tests.testbed.slots import STATE, _clean

pytestmark = pytest.mark.root

_OWNER = """
import sys, time
from tests.testbed import Kind, TestHost, take_slot
host = TestHost(Kind.BARE, take_slot())
print(host.name, host.slot.number, host.init, flush=True)
time.sleep(60)
"""


def pytest_in(folder: Path, **env: str) -> "subprocess.Popen[str]":
    """A test run of its own over the tests in a folder."""
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(Path.cwd()), **env}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)


def test_two_processes_have_different_slots(slot: Slot) -> None:
    code = "from tests.testbed import take_slot; s = take_slot(); print(s.number); s.release()"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(other.stdout) != slot.number


def test_what_a_killed_run_left_is_gone_after_the_next_run_began(slot: Slot) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name, number, init = owner.stdout.readline().split()
    for state in Path("/sys/fs/cgroup").glob(f"*/{name}/freezer.state"):
        state.write_text("FROZEN")  # as `docker pause` does; who is frozen dies once it is not any more
    owner.kill()
    owner.wait()
    assert Path("/run/netns", name).exists()
    assert Path("/proc", init).exists()

    take_slot().release()

    assert not Path("/run/netns", name).exists()
    assert not Path("/sys/class/net", f"dt{number}").exists()
    assert not (STATE / number).exists()
    assert not [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]
    deadline = time.monotonic() + 2
    while Path("/proc", init).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path("/proc", init).exists()


def test_a_slot_that_cannot_be_cleaned_stops_nobody_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = take_slot()
    first.release()

    def clean(number: int) -> None:
        if number == first.number:
            raise subprocess.CalledProcessError(1, ["rm"])
        _clean(number)

    monkeypatch.setattr(slots, "_clean", clean)
    other = take_slot()
    other.release()
    monkeypatch.undo()
    again = take_slot()
    again.release()

    assert (other.number != first.number, again.number) == (True, first.number)
    assert f"slot {first.number} of the test bed is passed over" in capsys.readouterr().err


def test_ctrl_c_ends_every_host(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import time\nfrom tests.testbed.fixtures import *\nfrom tests.testbed import Kind\n"
        "def test_it(make_host):\n    host = make_host(Kind.BARE)\n"
        f"    open('{tmp_path}/name', 'w').write(host.name)\n    time.sleep(60)\n"
    )
    run = pytest_in(tmp_path)
    deadline = time.monotonic() + 20
    while not (tmp_path / "name").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    name = (tmp_path / "name").read_text()

    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)

    assert not Path("/run/netns", name).exists()


def test_a_host_that_cannot_be_made_leaves_nothing(slot: Slot) -> None:
    before = sorted(slot.directory.iterdir())

    with pytest.raises(subprocess.CalledProcessError):
        TestHost(Kind.BARE, slot, workspace_size=1)

    assert sorted(slot.directory.iterdir()) == before


@pytest.mark.parametrize(("unprivileged", "outcome"), [("", "1 error"), ("1", "1 skipped")])
def test_without_root_the_reader_is_told_what_to_do(tmp_path: Path, unprivileged: str, outcome: str) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os\nfrom tests.testbed.fixtures import *\nos.geteuid = lambda: 1000\ndef test_it(slot): pass\n"
    )

    said = pytest_in(tmp_path, DEPLOY_TESTS_UNPRIVILEGED=unprivileged).communicate()[0]

    assert outcome in said
    assert "set DEPLOY_TESTS_UNPRIVILEGED=1 to leave these tests out" in said

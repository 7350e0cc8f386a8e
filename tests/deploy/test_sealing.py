"""What is digested is what is kept: nobody goes on writing to a release or a model by what was open before."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from provision.agent import models, takeover
from provision.agent.folders import create
from provision.contract.failure import Failure
from provision.contract.layout import Layout
from provision.errors import Refused
from tests.deploy.world import World, web
from tests.faults.hooks import at
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

WAYS = ("opened", "mapped", "linked")

# Has a file of an upload in each of these ways, says so, and writes by them once it is asked to.
_KEEPS = """
import glob, mmap, os, sys, time
folder, mine = glob.glob(sys.argv[1] + "/releases/.incoming-*")[0], sys.argv[2]
def opened(name):
    path = f"{folder}/{name}"
    os.chmod(path, 0o644)
    fd = os.open(path, os.O_RDWR)
    os.chmod(path, 0o444)
    return fd
fd, mapped = opened("opened"), opened("mapped")
memory = mmap.mmap(mapped, 4)
os.close(mapped)
os.link(f"{folder}/linked", mine + ".linked")
open(mine + ".held", "w")
while not os.path.exists(mine + ".go"):
    time.sleep(0.01)
os.pwrite(fd, b"evil", 0)
memory[:] = b"evil"
try:
    open(mine + ".linked", "r+").write("evil")
except OSError:
    pass
open(mine + ".done", "w")
"""


@pytest.fixture
def world(supervisord_host: TestHost, place: Place, tmp_path: Path) -> World:
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"}
    path = f"/opt/{place.name}"
    made = World(tmp_path / "project", supervisord_host, "supervisord", path, place.port(), place.name, target=target)
    for way in WAYS:
        (made.folder / way).write_text("good")
    return made


@pytest.mark.parametrize("user", ["root", "ann"])
def test_who_has_a_file_of_an_upload_open_mapped_or_linked_writes_to_no_release(world: World, user: str) -> None:
    """A program of the login account kept a descriptor, and wrote by it after the digest was compared."""
    mine = f"/var/tmp/{world.name}"
    sudoers = f"/etc/sudoers.d/{world.name}"
    if user != "root":
        world.host.write(sudoers, f"{user} ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        world.user, world.target["sudo"] = user, True
    world.host.write(f"{mine}.py", _KEEPS)
    run = f"python3 {mine}.py {world.path} {mine} >{mine}.log 2>&1 & until [ -e {mine}.held ]; do sleep 0.02; done"
    at(world, lambda: world.host.exec(["sh", "-c", run], user=user), phase="transaction", state="begin")
    world.web("1")
    try:
        assert world.up().outcome == "committed"
        world.host.exec(["sh", "-c", f"touch {mine}.go; until [ -e {mine}.done ]; do sleep 0.02; done"], user=user)
    finally:
        world.host.exec(["rm", "-f", sudoers])
    assert world.host.exec(["cat", *(f"{world.path}/stable/{way}" for way in WAYS)]).stdout == "good" * 3


def test_who_opens_a_file_again_while_it_is_sealed_is_named_and_the_release_gets_no_name(world: World) -> None:
    """No mode holds root off: what its programs have open for writing when all was compared is asked for at last."""
    script = "echo begun; until [ -e made/go ]; do sleep 0.02; done"
    prepare = {"command": ["sh", "-c", script], "outputs": ["made"]}
    world.web("1")
    world.up()
    old = world.stable
    world.declare({"web": web(world.port, "2")}, prepare=prepare)
    keep = 'cd "$1"/releases/.incoming-*; sleep 99 9<>opened >/dev/null 2>&1 & echo $!; touch made/go'
    pids: list[str] = []
    at(
        world,
        lambda: pids.append(world.host.exec(["sh", "-c", keep, "sh", world.path]).stdout.strip()),
        event="output",
        text="begun",
    )

    with pytest.raises(Refused, match=r"opened is open for writing by pid \d+ \(sleep 99\)") as refused:
        world.up()

    assert f"kill {pids[0]}" in refused.value.next_step
    assert world.stable == old
    world.host.exec(["kill", *pids])
    assert world.up().outcome == "committed"
    assert world.version == "2"


def test_a_prepare_step_that_writes_to_a_shipped_file_changes_no_release_before_it(world: World) -> None:
    """rsync links what is the same to the last release, and the step runs as root, whom no mode holds off."""
    world.web("1")
    world.up()
    old = world.stable
    prepare = {"command": ["sh", "-c", "echo evil >>opened"], "outputs": ["made"]}
    world.declare({"web": web(world.port, "2")}, prepare=prepare)

    world.up()

    assert world.host.read(f"{world.path}/stable/opened") == b"goodevil\n"
    assert world.host.read(f"{world.path}/releases/{old}/opened") == b"good"


def test_a_model_that_somebody_writes_to_while_it_is_verified_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped, which no list of open files shows; and where the file system tells nothing, what is ours is left."""
    layout = Layout(str(tmp_path / "project"))
    create(layout)
    content = bytes(4096)
    sha256 = hashlib.sha256(content).hexdigest()
    file = Path(models.receive(layout, sha256), "model.gguf")
    file.write_bytes(content)
    maps = []

    def open_it(_: object) -> None:
        if not maps:
            with file.open("r+b") as stream:
                maps.append(mmap.mmap(stream.fileno(), 0))

    with pytest.raises(Failure, match=f"model.gguf is open for writing by pid {os.getpid()} "):
        models.adopt(layout, sha256, file.name, open_it)
    assert models.present(layout) == []

    # It is replaced by a copy, which the mapping does not reach.
    assert models.adopt(layout, sha256, file.name, lambda _: None)["present"] is False
    maps[0][:4] = b"evil"
    assert Path(layout.model(sha256), file.name).read_bytes() == content
    maps[0].close()


def test_where_the_kernel_does_not_tell_what_is_ours_already_is_not_copied_for_every_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of NFS without a delegation every lease is refused, as if somebody wrote."""
    (tmp_path / "file").write_text("good")
    before = (tmp_path / "file").stat().st_ino

    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(takeover.fcntl, "fcntl", refuse)
    takeover.take_over(str(tmp_path))
    takeover.close(str(tmp_path))

    assert ((tmp_path / "file").stat().st_ino, [path.name for path in tmp_path.iterdir()]) == (before, ["file"])

"""Trees of any form arrive as they are: many files, deep folders, names like ours, models behind links."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from provision import rollout
from provision.agent import files, takeover
from provision.contract import tree
from provision.errors import DeployError
from provision.native.model import write_demo_model
from tests.deploy.world import World, web

once = pytest.mark.parametrize("platform", ["supervisord"], indirect=True)
_DEEP = 200
_OURS = [
    *(".incoming-x/a", ".incoming", ".trash-x", ".complete", "launch", "current", "stable", "state.json", "journal"),
    *("releases/a", "shared/models/a", "run/a", ".rsync-partial/a", "sub/.rsync-partial/a", "sub/release.json"),
]


def digests(world: World) -> str:
    script = "cd stable/ && find . -type f ! -name release.json -print0 | sort -z | xargs -0 sha256sum"
    return world.host.exec(["sh", "-c", f"cd {world.path} && {script}"]).stdout


@once
def test_deep_folders_and_names_like_our_own_arrive_and_go(world: World) -> None:
    for name in _OURS:
        (world.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (world.folder / name).write_text(name)
    deep = world.folder
    for _ in range(_DEEP):
        deep /= "d"
        deep.mkdir()
    (deep / "file").write_text("deep")
    world.web("1")

    assert world.up().outcome == "committed"

    inside = f"{world.path}/stable"
    assert [world.host.read(f"{inside}/{name}").decode() for name in _OURS] == _OURS
    assert world.host.read(f"{inside}/{'d/' * _DEEP}file") == b"deep"
    first = world.stable
    assert world.up().outcome == "unchanged"
    (world.folder / "d" / "d").rename(world.folder / "e")  # and the first one has to go
    world.target["keep"] = 2
    for version in "234":
        world.web(version)
        world.up()
    assert not world.exists(f"releases/{first}")
    assert not [name for name in world.host.exec(["ls", "-A", f"{world.path}/releases"]).stdout.split() if "." in name]


@once
def test_a_model_behind_a_link_is_shipped_as_the_file_and_never_changed_here(world: World, tmp_path: Path) -> None:
    """The Hugging Face cache's own layout, beside the project; and its name changes later, or there are two."""
    blob = tmp_path / "hub" / "blobs" / "0123abc"
    blob.parent.mkdir(parents=True)
    write_demo_model(blob)
    for name in ("tiny.gguf", "other.gguf"):
        (tmp_path / "hub" / "rev").mkdir(exist_ok=True)
        (tmp_path / "hub" / "rev" / name).symlink_to("../blobs/0123abc")
    before = blob.stat()

    def declare(*names: str) -> None:
        world.declare(
            {
                f"web{at}": web(world.port + at, "1", model=str(tmp_path / "hub" / "rev" / name))
                for at, name in enumerate(names)
            }
        )

    declare("tiny.gguf")
    world.up()
    assert world.host.read(f"{world.path}/stable/models/tiny.gguf") == blob.read_bytes()
    declare("tiny.gguf", "other.gguf")
    world.up()

    assert world.host.read(f"{world.path}/stable/models/other.gguf") == blob.read_bytes()
    after = blob.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns, after.st_ctime_ns) == (
        *(before.st_mode, before.st_uid, before.st_mtime_ns, before.st_ctime_ns),
    )


@once
def test_a_file_that_goes_on_changing_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.web("1")
    (world.folder / "growing.log").write_text("a")
    deployment = world.deployment()
    assert deployment.release
    (world.folder / "growing.log").write_text("ab")

    with pytest.raises(DeployError, match="differs from what was sent, twice") as caught:
        rollout.up(deployment, "stable")

    assert "(growing.log)" in caught.value.why


@once
def test_a_file_that_is_gone_when_it_is_to_be_shipped_is_named_and_disturbs_nothing(world: World) -> None:
    world.web("1")
    world.up()
    (world.folder / "gone.txt").write_text("a")
    deployment = world.deployment()
    assert deployment.release
    (world.folder / "gone.txt").unlink()

    with pytest.raises(DeployError, match="rsync failed") as caught:
        rollout.up(deployment, "stable")

    assert "gone.txt" in caught.value.why
    assert world.version == "1"
    world.web("2")
    assert world.up().outcome == "committed"


@pytest.mark.root
def test_folders_a_thousand_deep_are_taken_over_digested_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a host does where the agent runs under sudo; functions that call themselves end there, and descriptors."""
    monkeypatch.setenv("SUDO_UID", "65534")
    deep = tmp_path / "tree"
    for _ in range(1000):
        deep.mkdir()
        os.chown(deep, 65534, -1)
        deep /= "d"
    deep.write_text("deep")
    os.chown(deep, 65534, -1)

    assert takeover.take_over(str(tmp_path / "tree")) == 65534
    assert deep.stat().st_uid == 0
    assert [entry.path for entry in tree.digest(str(tmp_path / "tree"))[1]] == ["/".join("d" * 1000)]
    takeover.give_back(str(tmp_path / "tree"), 65534)
    assert deep.stat().st_uid == deep.parent.stat().st_uid == 65534
    files.remove_tree(str(tmp_path / "tree"))  # what cleans up behind tests calls itself


@pytest.mark.parametrize("account", [0, 1000])
def test_a_tree_deeper_than_any_path_is_removed(account: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepare step can make one by going into each folder before it makes the next."""
    top = tmp_path / "tree"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("dd", dir_fd=fd)
        os.close(os.open("file", os.O_CREAT, 0o444, dir_fd=fd))
        inner = os.open("dd", os.O_RDONLY, dir_fd=fd)
        os.fchmod(fd, 0o555)
        os.close(fd)
        fd = inner
    os.close(fd)
    monkeypatch.setattr(os, "geteuid", lambda: account)

    files.remove_tree(str(top))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@once
def test_a_hundred_thousand_files_are_shipped_and_one_of_them_again(world: World) -> None:
    for number in range(100_000):
        file = world.folder / f"n/{number // 1000}/f{number}.js"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"x{number}\n")
    world.web("1")
    for change in ("", "z"):
        (world.folder / "n/5/f5000.js").write_text(f"x{change}\n")
        began = time.monotonic()
        assert world.up().outcome == "committed"
        print(f"{time.monotonic() - began:.1f} s")  # noqa: T201  (figures for who runs it by hand)
        assert world.host.read(f"{world.path}/stable/n/5/f5000.js").decode() == f"x{change}\n"
    assert digests(world).count("\n") == 100_001
    assert world.up().outcome == "unchanged"

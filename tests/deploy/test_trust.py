"""Nothing is believed at a path that somebody else could have filled."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.agent import loader
from provision.errors import DeployError, Refused, Untrusted
from tests.deploy.world import World, web
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

# A note of somebody's own: that a process of root's is one of this project's programs.
_CLAIM = """
import json, sys
victim, program, folder = sys.argv[1:]
boot = open("/proc/sys/kernel/random/boot_id").read().strip()
began = int(open(f"/proc/{victim}/stat").read().rpartition(")")[2].split()[19])
json.dump({"boot": boot, "programs": {program: [int(victim), began]}}, open(f"{folder}/processes.json", "w"))
"""

# An agent of somebody's own: whoever runs it leaves a mark.
_EVIL = """
folder=$1/.deploy/agents/$2/deploy_agent/agent
mkdir -p "$folder"
printf 'open("%s", "w")\ndef serve(*_): pass\n' "$3" >"$folder/__main__.py"
: >"$folder/__init__.py"
"""


@pytest.fixture
def world(supervisord_host: TestHost, place: Place, tmp_path: Path) -> World:
    """A project of root's on a host where ann has an account, in a folder above which others may be."""
    prefix = {"name_prefix": f"{place.name}-"}
    root = f"/opt/{place.name}"
    supervisord_host.exec(["mkdir", "-p", root])
    folder = tmp_path / "project"
    return World(folder, supervisord_host, "supervisord", f"{root}/app", place.port(), place.name, target=prefix)


def plant(world: World, path: str) -> str:
    """Have ann lay out an agent of her own where ours would be; the mark that it leaves if it is run."""
    mark = f"/home/ann/ran-{world.name}"
    world.host.exec(["sh", "-ec", _EVIL, "evil", path, loader.digest(), mark], user="ann")
    return mark


def exists(world: World, path: str) -> bool:
    return world.host.exec(["test", "-e", path], check=False).returncode == 0


def sh(world: World, script: str, user: str = "root") -> str:
    return world.host.exec(["sh", "-ec", script, "sh", world.path], user=user).stdout


def test_an_agent_that_somebody_laid_out_before_us_is_not_run(world: World) -> None:
    """Hole 1: what lies at PATH/.deploy/agents/DIGEST was run as it was."""
    world.path = f"/tmp/{world.name}"
    mark = plant(world, world.path)
    world.web("1")

    with pytest.raises(Untrusted, match=rf"{world.path} belongs to ann \(mode 0755\), not to root") as refusal:
        world.up()

    assert f"by hand: chown -h root {world.path}; deploy host mend" in refusal.value.next_step
    assert world.status().state == "untrusted"
    with pytest.raises(Untrusted, match="can't be trusted"):
        rollout.execute(world.deployment(), ["true"])
    assert not exists(world, mark)

    # What is at the path itself is moved by nobody but a person: it may be somebody's home.
    with pytest.raises(Untrusted, match=f"{world.path} belongs to ann"):
        rollout.mend(world.deployment())
    sh(world, 'chown -h root "$1"')
    (mended,) = rollout.mend(world.deployment())
    assert [*mended["aside"]] == [f"{world.path}/.deploy"]
    assert world.up().outcome == "committed"
    assert not exists(world, mark)


SPOILT = [
    ('chmod 777 "${1%/*}"', r"/opt/[^ /]+ may be written to by everybody \(owner root, mode 0777\)"),
    ('chgrp ann "${1%/*}"; chmod g+w "${1%/*}"', r"/opt/[^ /]+ may be written to by its group ann"),
    ('chown ann "${1%/*}"', r"/opt/[^ /]+ belongs to ann \(mode 0755\), not to root"),
    ('ln -s /home/ann "$1"; chown -h ann "$1"', r"/opt/[^ /]+/app belongs to ann"),
    ('ln -s /home/ann/app "$1"', r"/home/ann belongs to ann"),
    ('ln -s /tmp/not-there-yet "$1"', r"/tmp may be written to by everybody \(owner root, mode 1777\)"),
    ('mkdir -p "$1/.deploy/history"; chmod 777 "$1/.deploy/history"', r"history may be written to by everybody"),
    ('mkdir -p "$1/.deploy"; touch "$1/.deploy/state.json"; chown ann "$1/.deploy/state.json"', r"state.json belongs"),
    ('mkdir -p "$1/shared/models/sha256-x"; chown ann "$1/shared/models/sha256-x"', r"sha256-x belongs to ann"),
    ('mkdir -p "$1/releases"; ln -s /home/ann/r "$1/releases/r"', r"/home/ann belongs to ann"),
]


def test_each_folder_down_to_what_is_believed_is_ours_alone(world: World) -> None:
    """Hole 1: nothing asked whose the folders are; a group, a link and what is not there yet are no way around."""
    root = world.path.rpartition("/")[0]
    for number, (spoil, names) in enumerate(SPOILT):
        world.path = f"{root}-{number}/app"
        world.host.exec(["sh", "-ec", f'mkdir "${{1%/*}}"; {spoil}', "sh", world.path])
        world.web("1")

        status = world.status()

        assert status.state == "untrusted"
        assert re.search(names, status.project["untrusted"]["what"]), (spoil, status.project["untrusted"])
    with pytest.raises(Untrusted, match=names):
        world.up()


def test_a_host_that_is_not_good_enough_has_status_logs_and_down_and_is_mended(world: World) -> None:
    """Hole 1: a host of an earlier version, whose folder ann has taken over; nothing that she put there is believed."""
    world.web("1")
    world.up()
    old = world.pid("web")
    sh(world, 'chmod 777 "$1"')

    # What is ours, and nobody has touched, goes on as it is once it is closed.
    sh(world, f'echo a word >>"$1/shared/logs/{world.program("web")}.log"')
    assert [*rollout.logs(world.deployment(), ["web"])][-1].line == "a word"
    assert world.status().project["view"]["programs"][world.program("web")]["pid"] == old
    (mended,) = rollout.mend(world.deployment())
    assert (mended["closed"], mended["aside"], mended["ended"]) == ([world.path], {}, [])
    assert world.up().outcome == "unchanged"
    assert world.pid("web") == old

    # A folder above is not the project's to close.
    sh(world, 'chmod 777 "${1%/*}"')
    sh(world, 'mv "$1" "$1.hers"; mkdir "$1"; mkdir "$1/shared"; ln -s /etc "$1/shared/logs"', user="ann")
    with pytest.raises(Untrusted, match="may be written to by everybody") as refusal:
        rollout.mend(world.deployment())
    assert refusal.value.next_step.startswith(f"by hand: chmod go-w {world.path.rpartition('/')[0]}; ")
    mark = plant(world, world.path)
    victim = int(sh(world, "sleep 99 >/dev/null 2>&1 & echo $!"))
    claim = ["python3", "-c", _CLAIM, str(victim), world.program("web"), f"{world.path}/.deploy"]
    world.host.exec(claim, user="ann")
    assert world.status().project["view"]["programs"][world.program("web")]["activity"] == "running"
    world.project = {"name": "another"}
    world.web("1")
    with pytest.raises(Refused, match="is not of project 'another'"):
        world.down()
    world.project = {}
    world.web("1")
    with pytest.raises(Refused, match="is a link"):
        list(rollout.logs(world.deployment(), ["web"]))
    world.host.exec(["python3", "-I", "/var/lib/deploy/boot.py"], check=False)
    assert world.down().outcome == "committed"
    assert not world.answers()
    assert world.status().project["view"]["programs"] == {}
    sh(world, f"kill {victim}")

    sh(world, 'chmod 755 "${1%/*}"; chown -h root "$1"')
    (mended,) = rollout.mend(world.deployment())
    assert {*mended["aside"]} == {f"{world.path}/shared/logs", f"{world.path}/.deploy"}
    assert mended["closed"] == [f"{world.path}/shared"]
    assert world.up().outcome == "committed"
    assert world.version == "1"
    assert not exists(world, mark)


@pytest.mark.slow
def test_mending_keeps_what_is_what_its_name_says_and_ends_what_nothing_accounts_for(world: World) -> None:
    """Hole 1: in a folder that was open, releases are known by their ids and launchers by their releases."""
    world.declare({"web": web(world.port), "worker": {"command": ["sleep", "99"], "on_demand": True}})
    world.up()
    launcher = f'"$1/.deploy/run/{world.program("web")}"'
    sh(world, f'cp -r "$1/releases/$(basename "$(readlink "$1/stable")")" "$1/releases/{"0" * 64}"')
    sh(world, f'mv {launcher} "$1/mine"; cp -r "$1/mine" {launcher}; chown -R ann {launcher}')
    sh(world, 'chmod 777 "$1/.deploy" "$1/releases"')
    assert world.host.exec([f"{world.path}/deploy-ctl", "status", "worker"], check=False).stderr.startswith("deploy-ct")

    (mended,) = rollout.mend(world.deployment())

    assert {*mended["aside"]} >= {f"{world.path}/releases/{'0' * 64}", f"{world.path}/.deploy/state.json"}
    assert mended["ended"] == [world.program("web"), world.program("worker")]
    assert world.up().outcome == "committed"
    assert not [event for event in world.events if event.get("phase") == "ship"], "the release was good"


def test_an_agent_that_is_not_what_its_name_says_is_sent_again(world: World) -> None:
    """Holes 1 and 8: empty files of the right name after a power cut, and what lies compiled beside a good source."""
    world.web("1")
    world.up()
    folder = f"{world.path}/.deploy/agents/{loader.digest()}"
    mark = f"/home/ann/ran-{world.name}"
    compiled = f"""
cd {folder}/deploy_agent/agent; mkdir -p __pycache__
printf 'open("{mark}", "w")' >/tmp/evil.py
python3 - <<'X'
import importlib.util, os, py_compile, struct
target = importlib.util.cache_from_source("session.py")
py_compile.compile("/tmp/evil.py", target, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
X
"""
    sh(world, compiled)
    assert world.status().state == "serving"
    recover = world.host.exec(["python3", "-I", f"{folder}/deploy_agent/__main__.py", "recover", world.path])
    assert recover.stdout == "nothing to recover\n"

    for damage in (f"echo >{folder}/json.py", f"find {folder} -name '*.py' -exec truncate -s 0 {{}} +"):
        sh(world, damage)
        assert world.status().state == "serving"
        assert world.up().outcome == "unchanged"
        assert sh(world, f"cd {folder}; ls; cat deploy_agent/agent/session.py | wc -l").split()[0] == "deploy_agent"
    assert int(sh(world, f"wc -l <{folder}/deploy_agent/agent/session.py")) > 100
    assert not exists(world, mark)


def test_the_agent_is_on_the_disk_before_it_has_its_name(world: World) -> None:
    """Hole 8: it was renamed into place, and nothing synced it; after a power cut its files were empty."""
    traced = '#!/bin/sh\nexec strace -qqq -o /var/tmp/$$.boot -e trace=syncfs,rename,fsync /usr/bin/python3 "$@"\n'
    world.host.write(f"/opt/{world.name}/python", traced, mode=0o755)
    world.target["python"] = f"/opt/{world.name}/python"
    world.web("1")

    world.up()

    calls = sh(world, f"grep -h -B1 -A1 '/agents/{loader.digest()}\"' /var/tmp/*.boot").splitlines()
    named = next(index for index, call in enumerate(calls) if f'.deploy/agents/{loader.digest()}"' in call)
    assert calls[named - 1].startswith("syncfs(")
    assert world.path in calls[named]
    assert calls[named + 1].startswith("fsync(")


def test_locks_are_ours_alone_and_unlock_sees_who_keeps_one_shared(world: World) -> None:
    """Hole 3: locks were made with open, and then chmod; in between anybody could open them, and lock them for ever.

    A shared lock has no label and kept everybody out; unlock said that nothing was held.
    """
    world.web("1")
    world.up()

    modes = sh(world, 'stat -c "%n %a %U" "$1"/.deploy/locks "$1"/.deploy/locks/* /var/lib/deploy/locks "$1"/.deploy')
    assert {line.removeprefix(world.path) for line in modes.splitlines()} == {
        "/.deploy/locks 700 root",
        "/.deploy/locks/lock 600 root",
        "/.deploy/locks/claim 600 root",
        "/var/lib/deploy/locks 700 root",
        "/.deploy 711 root",
    }
    assert sh(world, 'find "$1" /var/lib/deploy -perm /022 ! -type l ! -type s') == ""
    with world.held('exec 9<"$1"; flock -s 9; echo held; read -r _', f"{world.path}/.deploy/locks/lock"):
        (held,) = rollout.unlock(world.deployment())
        (ended,) = rollout.unlock(world.deployment(), yes=True)
        assert (held["outcome"], held["holder"]["who"]) == ("held", "root")
        assert ended["outcome"] == "nothing to recover"
        assert world.up().outcome == "unchanged"


def test_an_older_version_and_this_one_keep_each_other_out(world: World) -> None:
    """Hole 3: earlier versions lock `.deploy/lock`; whichever is first has it. Ann, who keeps it, is left aside."""
    hold = 'exec 9>>"$1"; flock 9; echo held; read -r _'
    mine = f"{world.path}/.deploy/lock"
    sh(world, 'mkdir -p "$1/.deploy"; touch "$1/.deploy/lock"; chmod 644 "$1/.deploy/lock"')
    world.web("1")
    with world.held(hold, mine), pytest.raises(Refused, match="a transaction of this project is running"):
        world.up()
    world.up()
    with world.held(hold, mine):
        assert world.status().state == "deploying"

    sh(world, 'rm -r "$1/.deploy/locks" "$1/.deploy/lock"; touch "$1/.deploy/lock"; chmod 644 "$1/.deploy/lock"')
    with world.held('exec 9<"$1"; flock -s 9; echo held; read -r _', mine, user="ann"):
        world.web("2")
        assert world.up().outcome == "committed"
        assert world.version == "2"


def test_no_link_that_a_service_s_account_plants_is_followed(world: World) -> None:
    """Hole 1: it owns its launch folder, and could let its next launch have any file of root's as its secret."""

    def declare(version: str) -> None:
        served = web(world.port, version, user="www-data", secret_files=["KEY"], switch="in-place")
        world.declare({"web": served}, env="KEY=mine\n")
        world.up()

    declare("1")
    declare("2")
    world.host.write(f"/root/{world.name}", "root's own", mode=0o600)
    folder = f"{world.path}/.deploy/run/{world.program('web')}/current/secret-files"
    sh(world, f"cd {folder}; rm -f KEY; ln -s /root/{world.name} KEY; chown -h www-data KEY")

    with pytest.raises(Refused, match="the value of secret KEY is not known"):
        world.rollback()


class _AtTransactions(list[dict[str, Any]]):
    """Events as they come; before each transaction is asked for, the next of some scripts is run."""

    def __init__(self, run: Callable[[str], object], scripts: list[str]) -> None:
        super().__init__()
        self._run, self._scripts = run, scripts

    def append(self, event: dict[str, Any]) -> None:
        super().append(event)
        if (event.get("phase"), event.get("state")) == ("transaction", "begin") and self._scripts:
            self._run(self._scripts.pop(0))


def test_no_link_that_the_login_account_plants_in_an_upload_is_followed(world: World) -> None:
    """Hole 1: under sudo an upload is the login account's; what is left over in it was removed as root, by its path."""
    sudoers = f"/etc/sudoers.d/{world.name}"
    world.host.write(sudoers, "ann ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    world.host.write("/root/kept/x", "root's own", mode=0o600)
    world.user, world.target["sudo"] = "ann", True
    world.web("1")
    into = 'cd "$1"/releases/.incoming-*; '
    world.events = _AtTransactions(
        lambda script: sh(world, into + script, user="ann"),
        ["mkdir left; echo >left/x; ln -s /root/kept/x link", "rm -rf left; ln -s /root/kept left"],
    )
    deployment = world.deployment()
    try:
        with pytest.raises(DeployError, match=r"'left/x' leads out of the release|differs from what was sent"):
            rollout.up(deployment)
        assert sh(world, "stat -c '%a %U' /root/kept/x; cat /root/kept/x") == "600 root\nroot's own"
        world.events = []
        sh(world, into + "rm left", user="root")
        assert world.up().outcome == "committed"
    finally:
        world.host.exec(["rm", sudoers])

"""The rooms, through `fab`, on real hosts."""

from __future__ import annotations

import pytest

from tests.deploy.world import web
from tests.fabric.conftest import Fleet

pytestmark = pytest.mark.root


def test_a_release_is_tried_promoted_looked_at_taken_back_and_ended(fleet: Fleet) -> None:
    assert f"{fleet.name} is sound" in fleet.ok("check")
    planned = fleet.ok("plan")
    assert planned.count("stable goes from nothing") == 2
    fleet.ok("up")
    first = fleet.stable
    fleet.web("2")
    assert "2 of 2 checks passed" in fleet.ok("up", "--channel", "canary", "smoke", "--channel=canary")
    assert fleet.version == "1"
    fleet.ok("promote")
    assert fleet.version == "2"
    assert fleet.ok("status").count("serving") == 2
    assert len(fleet.ok("history").splitlines()) == 6
    assert fleet.ok("-H", fleet.second.address, "exec", "printenv -0 HOME").strip("\0") == "/root"
    assert "GET" not in fleet.ok("-H", fleet.second.address, "logs", "web", "--lines", "5")
    fleet.ok("rollback", "--release", first[:12])
    assert (fleet.version, fleet.stable) == ("1", first)
    fleet.ok("down")
    assert not fleet.serves(fleet.host)


def test_hosts_of_the_run_are_those_of_the_command_line_once_for_all_of_them(fleet: Fleet) -> None:
    one, other = fleet.host.address, fleet.second.address
    fleet.ok("-H", other, "up")
    assert (fleet.serves(fleet.host), fleet.serves(fleet.second)) == (False, True)
    told = fleet.fab("-H", f"{one},{other}", "plan")
    assert told.stdout.splitlines()[-1] == f"{other}: unchanged; stable is {told.stdout.split()[-1]}"
    assert told.stdout.count(f"{one}: ") == 1, "once for both, and not once for each"
    unknown = fleet.fab("-H", f"{one},nowhere", "up")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.splitlines() == [
        'target here has no host "nowhere".',
        f"It has: {one}, {other}.",
    ]
    assert not fleet.serves(fleet.host)


def test_a_room_that_is_called_with_a_connection_means_its_host(fleet: Fleet) -> None:
    one, other = fleet.host.address, fleet.second.address
    told = fleet.ok("-H", f"{other},{one}", "one-by-one")
    assert [line for line in told.splitlines() if line.startswith("then ")] == [f"then {other}", f"then {one}"]


def test_what_fails_ends_fab_as_it_would_end_deploy(fleet: Fleet) -> None:
    fleet.ok("up")
    fleet.declare({"web": web(fleet.port, "2", env={"FAIL": "exit"})})
    broken = fleet.fab("up", "status")
    assert broken.returncode == 3
    assert "hosts failed" in broken.stderr
    assert "exited with status 3" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert broken.stdout == "", "what stands after it is not begun"
    assert fleet.version == "1"

    assert fleet.fab("-H", fleet.host.address, "up").returncode == 1
    assert fleet.fab("-H", fleet.host.address, "exec", "sh -c 'exit 7'").returncode == 7


# words, exit code, the sentence
MISTAKES = [
    (["up", "--channel", "cannary"], 2, "--channel cannary: there is no such one.\nOne of: stable, canary.\n"),
    (["exec", "ls"], 2, "this needs one host\n"),
    (["logs", "web", "--lines", "0"], 2, "--lines 0: expected 1 to 100000.\n"),
    (["exec", "sh -c 'open"], 2, "sh -c 'open: is no command.\nNo closing quotation.\n"),
    (["render", "mesos"], 2, "mesos: no such platform.\nOne of: supervisord, systemd, "),
    (["image.build", "nope"], 2, "images/docker-bake.json is missing.\n"),
    (["native.build", "--define", "X"], 2, "--define X: a CMake variable is NAME=VALUE.\n"),
    (["native.build", "--profile", "nope"], 2, "nope"),
    (["status", "--target", "there"], 2, "there"),
    (["status", "--folder", "nowhere"], 2, "nowhere/deploy.toml"),
]


@pytest.mark.parametrize(("words", "code", "said"), MISTAKES, ids=[" ".join(words) for words, *_ in MISTAKES])
def test_a_mistake_is_a_sentence(fleet: Fleet, words: list[str], code: int, said: str) -> None:
    done = fleet.fab(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_target_and_folder_can_stand_in_fabrics_configuration(fleet: Fleet) -> None:
    (fleet.folder / "deploy.toml").write_text(
        (fleet.folder / "deploy.toml").read_text() + '\n[targets.other]\nhosts = ["sandbox"]\npath = "/tmp/nowhere"\n'
    )
    assert fleet.fab("status").returncode == 2
    (fleet.folder / "fabric.yaml").write_text("deploy: {target: here}\n")
    told = fleet.fab("status")
    assert (told.returncode, told.stdout.count("nothing is deployed")) == (1, 2)
    below = fleet.folder / "ops"
    below.mkdir()
    (below / "fabfile.py").write_text("from provision.tasks import ns\n")
    (below / "fabric.yaml").write_text("deploy: {target: here, folder: ..}\n")
    assert fleet.fab("--search-root", "ops", "status").stdout.count("nothing is deployed") == 2


def test_a_subfolder_of_the_project_is_as_good_a_place_to_be(fleet: Fleet) -> None:
    below = fleet.folder / "src"
    below.mkdir()
    told = fleet.fab("check", folder=below)
    assert (told.returncode, told.stdout.split()[0]) == (0, fleet.name)
    (fleet.folder / "deploy.toml").write_text("[project]\n")
    assert fleet.fab("check", folder=below).stderr.startswith("../deploy.toml:1:")


def test_hosts_are_trusted_once_somebody_says_so_and_given_what_they_lack(fleet: Fleet) -> None:
    (fleet.folder / "known_hosts").unlink()
    one, other = fleet.host.address, fleet.second.address
    asked = fleet.fab("host.trust")
    assert (asked.returncode, asked.stdout) == (4, "")
    assert asked.stderr.startswith(f"{one}: shows SHA256:")
    assert fleet.ok("-H", other, "host.trust", "--yes").startswith(f"{other}: pinned SHA256:")
    assert fleet.ok("-H", other, "host.bootstrap") == f"{other}: nothing is missing\n"
    assert fleet.fab("-H", one, "host.bootstrap").returncode == 4


def test_files_are_rendered_for_a_target_of_several(fleet: Fleet) -> None:
    fleet.declare({"web": web(fleet.port)}, **{"targets.other": {"hosts": ["sandbox"], "path": "/tmp/nowhere"}})
    assert fleet.fab("render", "supervisord").stderr.startswith("which target?\n")
    assert "written" in fleet.ok("render", "supervisord", "--target", "here", "--out", "files")
    assert [*(fleet.folder / "files").rglob("*.conf")]

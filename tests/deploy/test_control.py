"""`deploy-ctl` on the host: an account may start what it was granted, and do nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision.platforms import face
from provision.project import load
from tests.deploy.world import World, web
from tests.faults.hooks import until

pytestmark = pytest.mark.root

WORKER = {"command": ["sleep", "1000"], "on_demand": True}
_FLAWED = ["sh", "-c", "echo no such luck; exit 3"]
REFUSED = [
    (("start", "web"), 'this project has no service on demand called "web". It has: other, worker.'),
    (("start", "work"), 'this project has no service on demand called "work".'),
    (("kill", "worker"), 'deploy-ctl knows start, stop, status, and no "kill".'),
    (("start", "worker; touch /tmp/pwned"), "deploy-ctl start|stop|status SERVICE"),
    (("start", "$(touch /tmp/pwned)"), "deploy-ctl start|stop|status SERVICE"),
    (("start", "--help"), 'no service on demand called "--help"'),
    (("start",), "deploy-ctl start|stop|status SERVICE"),
    (("serve",), "systemd starts this"),
]


def declare(world: World, **more: Any) -> None:
    shutil.copy(Path(__file__).with_name("asking.py"), world.folder)
    asking = {
        "command": ["python3", "asking.py", "${port}"],
        "env": {"DEPLOY_CTL": "${path}/deploy-ctl"},
        "user": "www-data",
        "starts": ["worker"],
    }
    services = {"web": web(world.port, **asking), "worker": WORKER, "other": WORKER, **more}
    world.declare(services)


def ask(world: World, *words: str) -> tuple[int, str]:
    """What deploy-ctl says to the service's account: its exit status, and its words."""
    told = world.get("/" + "/".join(words))
    assert told["uid"] == 33
    return told["status"], told["said"]


def control(world: World, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    return world.host.exec([f"{world.path}/deploy-ctl", *words], user=user, check=False)


def activity(world: World, service: str) -> str:
    return str(world.status().project["view"]["programs"][world.program(service)]["activity"])


def grant(world: World) -> None:
    """Put there what `deploy render` writes, as it says."""
    loaded = load(world.folder, environ={}, target="here")
    files = face(world.platform).files(loaded.project, loaded.project.targets["here"], world.folder)
    granted = {name: text for name, text in files.items() if "-ctl" in name}
    assert granted
    for name, text in granted.items():
        if world.platform == "supervisord":
            world.host.write(f"/etc/{name}", text, mode=0o440)
            world.host.exec(["visudo", "-cf", f"/etc/{name}"])
        else:
            world.host.write(f"/etc/systemd/system/{name}", text)
    if world.platform == "systemd":
        world.host.exec(["systemctl", "daemon-reload"])
        (socket,) = [name for name in granted if name.endswith(".socket")]
        world.host.exec(["systemd-analyze", "verify", f"/etc/systemd/system/{socket}"])
        world.host.exec(["systemctl", "enable", "--quiet", "--now", socket])


def test_an_account_starts_and_stops_what_it_was_granted_and_nothing_else(world: World) -> None:
    declare(world)
    world.up()
    refused, why = ask(world, "start", "worker")
    assert refused != 0
    assert why
    assert control(world, "status", "worker").returncode == 3
    grant(world)

    assert ask(world, "status", "worker")[0] == 3
    status, said = ask(world, "start", "worker")
    assert (status, said.startswith("worker is started (pid ")) == (0, True), said
    assert activity(world, "worker") == "running"
    assert ask(world, "start", "worker")[1].startswith("worker runs already")
    for words in (("start", "other"), ("stop", "web"), ("restart", "worker")):
        assert ask(world, *words)[0] != 0, words
    assert world.get("/sudo/-n/id")["status"] != 0
    assert ask(world, "stop", "worker") == (0, "worker is stopped.")
    assert activity(world, "worker") == activity(world, "other") == "stopped"

    # Its owner, who needs no grant, is told why not in a sentence, too.
    for words, sentence in REFUSED:
        done = control(world, *words)
        assert done.returncode == 2, words
        assert sentence in done.stderr, words
    assert world.host.exec(["test", "-e", "/tmp/pwned"], check=False).returncode != 0
    assert activity(world, "worker") == "stopped"


@pytest.mark.slow
def test_what_does_not_start_is_told_with_its_last_words(world: World) -> None:
    declare(world, flawed={"command": _FLAWED, "on_demand": True})
    world.up()

    done = control(world, "start", "flawed")

    assert done.returncode == 1
    assert done.stderr.startswith("flawed exited with status 3.\n  | ")
    # journald may be late with what a unit wrote last.
    assert world.platform == "systemd" or "| no such luck\n" in done.stderr


@pytest.mark.slow
def test_who_cannot_look_into_another_account_s_launch_folder_shows_no_line(world: World) -> None:
    """Hole 6: as root without capabilities, which is what the unit that is rendered gives."""
    flawed = {"command": ["sh", "-c", "echo $API_KEY; exit 3"], "on_demand": True, "user": "www-data"}
    world.declare({"flawed": {**flawed, "secrets": ["API_KEY"]}}, env="API_KEY=sekret-0123456789\n")
    world.up()

    done = world.host.exec(
        ["setpriv", "--bounding-set=-all", f"{world.path}/deploy-ctl", "start", "flawed"], check=False
    )

    assert done.returncode == 1
    assert "sekret" not in done.stdout + done.stderr
    assert "Its last words are not shown: what is secret in them can't be told (" in done.stderr


def test_it_comes_with_what_is_on_demand_and_goes_with_it(world: World) -> None:
    declare(world)
    world.up()
    assert world.host.exec(["stat", "-c", "%a %U", f"{world.path}/deploy-ctl"]).stdout.split() == ["755", "root"]

    world.web("2")
    world.up()

    assert not world.exists("deploy-ctl")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["supervisord"])  # systemd's unit waits by itself
def test_a_stop_waits_for_requests_in_flight(world: World) -> None:
    shutil.copy(Path(__file__).with_name("drained.py"), world.folder)
    served = web(world.port, command=["python3", "drained.py", "${port}"], metrics={"busy": ["busy"]}, drain="30s")
    world.declare({"server": {**served, "on_demand": True}})
    world.up()
    assert control(world, "start", "server").returncode == 0
    until(lambda: world.answers(), "it serves")
    asked = ["curl", "-sSN", "-m", "60", f"http://127.0.0.1:{world.port}/stream"]
    with subprocess.Popen(world.host.inside(asked), stdout=subprocess.PIPE, text=True) as in_flight:
        assert in_flight.stdout is not None
        in_flight.stdout.read(2)
        assert control(world, "stop", "server").returncode == 0
        assert in_flight.communicate()[0].endswith("end")

"""How a host stands: its word, its exit status, what to do now; looked at once, or again and again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import Any

import pytest

from provision.cli.render.status import status_lines
from provision.errors import Exit, Unreachable
from provision.rollout import HostStatus, Unreached, worst
from tests.cli.conftest import DEPLOY, Project
from tests.cli.ports import free_ports

RUNS = {"activity": "running", "pid": 7, "detail": "", "restarts": 0, "memory_bytes": 0}


def standing(seen: dict[str, Any] | None = None, **more: Any) -> HostStatus:
    """A host that serves, but for what is said otherwise; `seen` is of its only program."""
    record = {"service": "web", "lane": "stable", "release": "r" * 64, "launch": "1-a", "fingerprint": "f"}
    record |= {"manifest": "web.conf", "manifest_sha256": "m"}
    view = {"programs": {"web": {**RUNS, **(seen or {})}}, "manifests": {"web": "m"}, "launches": {"web": "1-a"}}
    view |= {"listening": {}, "memory_available": 0, "vram_free": None, "gpus": None}
    state = {"format": 1, "channels": {"stable": "r" * 64}, "programs": {"web": record}, "generation": 3}
    project = {"state": state, "view": view, "holder": None, "journal": None, "history": [], "previous": None}
    return HostStatus("gpu-03", {**project, **more})  # type: ignore[typeddict-item]


def journal(step: str) -> dict[str, Any]:
    return {"begin": {"kind": "up", "who": "ann", "time": 1.0, "transaction": "t"}, "step": step, "why": ""}


ENDED = {"activity": "exited"}
CUT, DEGRADED = journal("touch"), journal("degraded")
NOTHING = {"state": {"format": 1, "channels": {}, "programs": {}, "generation": 0}}
CASES = [
    (standing(), "serving", 0, ""),
    (standing(**NOTHING), "nothing", 1, "deploy up"),
    (standing(holder={"who": "ann"}), "deploying", 1, "deploy status --watch;"),
    (standing(journal=CUT), "interrupted", 1, "deploy unlock, "),
    (
        standing(journal=DEGRADED, previous="p"),
        "degraded",
        5,
        "deploy logs; then deploy rollback, deploy up",
    ),
    (standing(journal=DEGRADED), "degraded", 5, "deploy logs; then deploy up"),
    (standing(ENDED), "failing", 1, "deploy logs web; then deploy up"),
    (
        standing({"activity": "exited"}, previous="p"),
        "failing",
        1,
        "deploy logs web; then deploy rollback, or deploy up",
    ),
    (standing({"activity": "unsupervised"}), "unsupervised", 1, "deploy up, or deploy unlock"),
    (standing({"restarted": {"times": 2, "ago": 500.0}}), "restarting", 1, "deploy logs web; then deploy up"),
    (standing({"restarted": {"times": 1, "ago": 5.0}}), "restarting", 1, "deploy logs web; then deploy up"),
    (standing({"restarted": {"times": 1, "ago": 300.0}}), "serving", 0, ""),
    (Unreached("gpu-04", Unreachable("no answer.", next_step="ping it")), "unreachable", 3, "ping it"),
]


@pytest.mark.parametrize(("status", "state", "code", "next_"), CASES, ids=lambda value: value or "-")
def test_each_state_has_its_exit_status_and_its_next_command(
    status: HostStatus | Unreached, state: str, code: int, next_: str
) -> None:
    assert (status.state, status.exit) == (state, code)
    assert status.next.startswith(next_)
    assert ("next: " in "\n".join(status_lines(status))) == bool(next_)


def test_of_several_hosts_the_worst_decides_and_commands_name_the_host() -> None:
    well, ill = standing(), standing(journal=DEGRADED)
    away = Unreached("gpu-04", Unreachable("no answer."))
    assert [worst(each) for each in ([well], [well, away], [away, ill])] == [Exit.DONE, 3, Exit.DEGRADED]
    failing = HostStatus("gpu-03", standing(ENDED).project, several=True)
    assert failing.next.startswith("deploy logs web --host gpu-03; ")


def test_a_host_that_cannot_be_reached_is_told_and_has_its_exit_status(project: Project) -> None:
    (closed,) = free_ports(1)
    file = project.root / "deploy.toml"
    file.write_text(file.read_text().replace('hosts = ["sandbox"]', f'hosts = ["127.0.0.1:{closed}"]'))

    done = project.run("status")

    assert done.returncode == 3
    assert "unreachable: " in done.stdout
    (event,) = [each for each in project.events("status") if each["event"] == "status"]
    assert (event["state"], event["error"]["host"]) == ("unreachable", f"127.0.0.1:{closed}")


def test_watching_in_json_is_a_stream_that_ctrl_c_ends_with_what_was_seen_last(served: Project) -> None:
    process = served.start("status", "--watch", "--every", "1", "--json")
    assert process.stdout
    seen = []
    while len(seen) < 3:
        event = json.loads(process.stdout.readline())
        seen += [event] if event["event"] == "status" else []
    os.killpg(process.pid, signal.SIGINT)

    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    assert [event["state"] for event in seen] == ["serving"] * 3
    assert seen[0]["time"] < seen[2]["time"]
    assert all(json.loads(line)["event"] for line in out.splitlines())


def test_watching_on_a_terminal_draws_in_one_place_and_gives_the_terminal_back(served: Project) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DEPLOY, "status", "--watch", "--every", "1"],
        cwd=served.root,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while shown.count(b"serving") < 3:
        shown += os.read(ours, 4096)
    os.killpg(process.pid, signal.SIGINT)
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other end was closed
        pass

    assert process.wait(60) == 0
    assert b"Traceback" not in shown
    assert b"\x1b[1A" in shown  # up, to draw over what stood there
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is there again

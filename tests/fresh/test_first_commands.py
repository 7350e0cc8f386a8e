"""The README's first commands, as a newcomer types them on a machine that was just installed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.fresh.machine import PERSONS, SYSTEMS, Machine
from tests.fresh.visit import Visit, visit
from tests.testbed import Kind, TestHost

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Visited:
    """A machine after a visit."""

    machine: Machine
    rented: TestHost
    visit: Visit
    ssh_before: dict[str, tuple[int, int, bytes]]


@pytest.fixture(scope="module", params=[(system, person) for system in SYSTEMS for person in PERSONS], ids="-".join)
def visited(request, slot):
    machine = Machine(*request.param, slot)
    rented = TestHost(Kind.SUPERVISORD, slot)
    try:
        machine.write(f"{machine.home}/.ssh/id_ed25519", rented.identity.read_bytes(), mode=0o600)
        before = _ssh(machine)
        yield Visited(machine, rented, visit(machine, rented), before)
    finally:
        rented.destroy()
        machine.destroy()


def _ssh(machine: Machine) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and bytes of all that is in ~/.ssh."""
    files = [path for path in machine.at(f"{machine.home}/.ssh").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_first_command_works_twice_and_shows_what_the_readme_promises(visited):
    for demo in visited.visit.demos:
        assert demo.status == 0, demo.text
        for promised in ("The capital of France is", "promoted: stable answers 'two'", "refused by its check"):
            assert promised in demo.text
        assert re.search(r"^Done in ", demo.text, re.MULTILINE)


def test_it_says_something_before_it_installs_anything(visited):
    assert visited.visit.demos[0].lines
    assert not visited.visit.was_installed


def test_no_compiler_comes_along(visited):
    assert list(visited.machine.at("/usr/bin").glob("*gcc*")) == []


def test_a_machine_that_nobody_knows_is_refused_with_the_command_that_trusts_it(visited):
    assert visited.visit.refused.status == 4
    assert "nobody is there to confirm it" in visited.visit.refused.text


def test_the_second_command_brings_the_stack_to_a_machine_and_says_how_to_reach_it(visited):
    deployed = visited.visit.deployed
    assert deployed.status == 0, deployed.text
    assert "-L 8000:127.0.0.1:8000" in deployed.text
    assert f"root@{visited.rented.address}" in deployed.text
    assert '"llama":"up"' in visited.rented.exec(["curl", "-fsS", "http://127.0.0.1:8000/health"]).stdout


def test_nobody_sees_a_traceback(visited):
    for transcript in visited.visit.all:
        assert "Traceback" not in transcript.text


def test_the_clone_stays_as_git_made_it(visited):
    assert visited.machine.run("git status --short").text == ""


def test_the_person_s_ssh_folder_is_not_touched(visited):
    assert _ssh(visited.machine) == visited.ssh_before


def test_nothing_keeps_running(visited):
    assert [process.argv for process in visited.machine.processes()] == []


def test_everything_in_the_home_folder_belongs_to_the_person(visited):
    home = visited.machine.at(visited.machine.home)
    assert [path for path in (home, *home.rglob("*")) if path.lstat().st_uid != visited.machine.uid] == []

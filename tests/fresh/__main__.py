"""The README's first commands on a bare machine: each line, and the second in which it came."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fresh.machine import PERSONS, SYSTEMS, Machine
from tests.fresh.visit import visit
from tests.testbed import Kind, Slot, TestBedProblem, TestHost, take_slot
from tests.testbed.problems import missing_requirement

_LONGEST_S = 4 * 3600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fresh", description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("person", choices=PERSONS)
    parser.add_argument("--command", help="type this there instead, and nothing else: --command 'make test'")
    parser.add_argument("--cache", type=Path, help="a cache of compiled binaries; the machine gets a copy")
    given = parser.parse_args()
    problem = missing_requirement()
    if problem is not None:
        raise problem
    slot = take_slot()
    try:
        return _run(given, slot)
    finally:
        slot.release()


def _run(given: argparse.Namespace, slot: Slot) -> int:
    machine = Machine(given.system, given.person, slot)
    if given.cache:
        machine.copy_cache(given.cache)
    if given.command:
        return machine.run(given.command, tell=_tell, timeout_s=_LONGEST_S).status
    rented = TestHost(Kind.SUPERVISORD, slot)
    machine.write(f"{machine.home}/.ssh/id_ed25519", rented.identity.read_bytes(), mode=0o600)
    visited = visit(machine, rented, _tell)
    return next((transcript.status for transcript in (*visited.demos, visited.deployed) if transcript.status), 0)


def _tell(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TestBedProblem as error:
        sys.exit(str(error))

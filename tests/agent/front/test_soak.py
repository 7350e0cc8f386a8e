"""A hundred changes in a row under users who never stop, and whoever makes them is killed again and again."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provision.agent.front.values import DRAIN, READY, Front
from tests.agent.front.stand import PATIENCE, Crowd, Stand, Stream
from tests.faults.hooks import until

_CHANGES = 100
_OPEN = 10  # streams at a time
_MAKER = """\
import pickle, sys
from provision.agent.front.runtime import Runtime
Runtime(sys.argv[1], sys.argv[2]).become(pickle.load(open(sys.argv[3], "rb")))
"""


@pytest.mark.slow
def test_a_hundred_changes_and_the_deaths_of_who_makes_them_fail_nobody(stand):
    chance = random.Random(17)
    stand.start(*"abc")
    serves, listed, killed = "a", "ab", 0
    stand.serve(_front(stand, serves, listed))
    streams: list[tuple[Stream, str]] = []

    with Crowd(stand, clients=8) as crowd:
        for _ in range(_CHANGES):
            stream = Stream(stand)
            streams.append((stream, stream.came[0].split()[0]))
            if chance.random() < 0.3:  # in place
                stand.runtime.become(_front(stand, serves, listed, held=True))
                until(lambda: stand.runtime.held("api") > 0, "somebody waits", PATIENCE)
            if chance.random() < 0.3:  # another structure
                listed = "ab" if listed == "abc" else "abc"
            serves = chance.choice([each for each in listed if each != serves])
            wanted = _front(stand, serves, listed)
            killed += _dies(stand, wanted, chance.uniform(0.1, 0.4))
            stand.runtime.become(wanted)
            crowd.more()
            assert stand.get().program == serves
            if len(streams) > _OPEN:
                first, program = streams.pop(0)
                assert first.is_all_of(program)
        for each, program in streams:
            assert each.is_all_of(program)

    assert crowd.failed == []
    assert killed > _CHANGES / 10
    for program in set("abc") - {serves}:
        until(lambda program=program: stand.runtime.drained("api", program), f"{program} has nothing left", PATIENCE)


def _front(stand: Stand, serves: str, listed: str, held: bool = False) -> Front:
    servers = [stand.server(each, state=READY if each == serves else DRAIN) for each in listed]
    return stand.front(*servers, held=held)


def _dies(stand: Stand, wanted: Front, seconds: float) -> bool:
    """Whether somebody was killed while he made it so."""
    file = stand.folder / "wanted"
    file.write_bytes(pickle.dumps(wanted))
    maker = [sys.executable, "-c", _MAKER, str(stand.folder), stand.program, str(file)]
    with subprocess.Popen(maker, cwd=Path(__file__).parents[3]) as process:
        time.sleep(seconds)  # any moment will do
        process.kill()
    return process.returncode < 0

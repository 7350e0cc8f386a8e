"""A host that answers what it likes, without an end: the toolkit gives it up, in a sentence and with little memory."""

from __future__ import annotations

import pytest

from provision.errors import DeployError
from provision.hosts import channel
from provision.rollout import proof
from provision.targets import conversation
from tests.deploy.world import World
from tests.images.make import KEY, public_pem

pytestmark = pytest.mark.root

LIES = {
    "nested": ('print("[" * 200_000)', "the agent ended early"),
    "nested, within a message": ("print('{\"event\":' * 100_000)", "the agent ended early"),
    "no message": ("print('{}')", "the host answered something else"),
    "half a result": ('print(\'{"event": "result", "project": 3}\')', "the host answered something else"),
    "a result without what was asked": ('print(\'{"event": "result"}\')', 'answer has no "project"'),
    "half a step": ('print(\'{"event": "step"}\')', "the host answered something else"),
    "the agent again and again": ('while 1: print(\'{"event": "need-agent"}\', flush=True)', "again and again"),
    "lines": ("while 1: print('welcome' * 10)", "it prints and prints"),
    "a line now and then": ("while 1: print('x', flush=True); time.sleep(0.1)", "it prints and prints"),
    "no newline": ("while 1: sys.stdout.write('x' * 100_000)", "more than 4 MiB without an end"),
    "alive": ('while 1: print(\'{"event": "alive"}\', flush=True); time.sleep(0.1)', "still looking"),
    "not a word": ("time.sleep(60)", "no answer in 1 s"),
}


@pytest.fixture
def platform() -> str:
    return "supervisord"  # nobody gets as far as a supervisor


@pytest.mark.parametrize(("code", "said"), LIES.values(), ids=LIES)
def test_a_host_that_lies_is_given_up(world: World, code: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 13, 6 and 7: no newline took 650 MB, nested JSON a traceback; and a deadline counted from the last line."""
    monkeypatch.setattr(conversation, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(conversation, "_LOOK_SECONDS", 1.0)
    monkeypatch.setattr(channel, "_LARGEST", 4 << 20)
    liar = f"{world.path}-python"
    # It hears the question first: who ends before that has told no lie.
    world.host.write(liar, f"#!/usr/bin/python3\nimport sys, time\nsys.stdin.readline()\n{code}\n", mode=0o755)
    world.target["python"] = liar
    world.web("1")

    with pytest.raises(DeployError) as failed:
        world.status()

    assert said.casefold() in str(failed.value).casefold()


def test_a_host_that_says_for_ever_that_it_looks_for_evidence_has_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_LOOK_SECONDS", 1.0)
    (world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    liar = f"{world.path}-python"
    world.host.write(liar, f"#!/usr/bin/python3\nimport time\n{LIES['alive'][0]}\n", mode=0o755)
    world.target["python"] = liar
    world.web("1")

    assert proof.known(world.deployment()).kept == {}
    assert "still looking" in world.events[-1]["text"]

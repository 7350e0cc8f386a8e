"""What this machine fetches for hosts: whole, or a sentence; and whoever is killed, the next one goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.errors import DeployError
from provision.models import relay
from provision.release import ModelFile
from tests.faults.hooks import until
from tests.models.conftest import Hub

CONTENT = b"".join(bytes([number]) * relay._PIECE for number in range(1, 4)) + b"the end"
_RELAY = """
import sys
from pathlib import Path
from provision.models import relay
from provision.release import ModelFile
url, sha256, size = sys.argv[1:]
relay.here(ModelFile("models/m.gguf", None, sha256, int(size), (), "llama", url=url), "", {}, lambda *_: None)
"""


@pytest.fixture
def model(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hub.put("acme/big", "big.gguf", CONTENT)
    url = f"{hub.url}/acme/big/resolve/main/big.gguf"  # no commit: not for the Hub's own cache
    return ModelFile("models/m.gguf", None, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), (), "llama", url=url)


@pytest.mark.parametrize("fault", ["other", "long"])
def test_a_file_that_comes_otherwise_is_refused_and_the_next_run_has_it_whole(
    hub: Hub, model: ModelFile, fault: str
) -> None:
    hub.fail("", fault)

    with pytest.raises(DeployError, match="as it was locked"):
        relay.here(model, "", {}, lambda *_: None)

    assert relay.here(model, "", {}, lambda *_: None).read_bytes() == CONTENT


def test_a_file_that_has_become_short_is_a_sentence(hub: Hub, model: ModelFile) -> None:
    hub.put("acme/big", "big.gguf", CONTENT[:-3])

    with pytest.raises(DeployError, match="as it was locked"):
        relay.here(model, "", {}, lambda *_: None)


def test_who_is_killed_while_it_comes_leaves_what_the_next_one_goes_on_with(
    hub: Hub, model: ModelFile, tmp_path: Path
) -> None:
    hub.fail("", "", "hang")
    command = [sys.executable, "-c", _RELAY, model.url, model.sha256, str(model.bytes)]
    with subprocess.Popen(command, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}) as killed:
        until(lambda: len([each for each in hub.asked if each["files"]]) == 3, "two pieces are there")
        killed.kill()

    assert relay.here(model, "", {}, lambda *_: None).read_bytes() == CONTENT
    asked = [each["range"] for each in hub.asked if each["files"]]
    assert asked.count(f"bytes=0-{relay._PIECE - 1}") == 1, "what had come is not fetched again"

"""python -m rollout_server.fetch of examples/rollout-server, against a hub that is busy, breaks off, or says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.examples.hub import Hub, hub, tokenizer

SOURCES = Path(__file__).parents[2] / "examples" / "rollout-server" / "src"
TINY = tokenizer("Hello, this is turn one, turn two, turn three")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(name="hub")
def _hub() -> Iterator[Hub]:
    with hub() as made:
        yield made


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """Runs a module of the example, with HF_HOME in a folder of the test's own."""

    def run(*words: str, tokenizers: str, **environ: str) -> subprocess.CompletedProcess[str]:
        variables = {"TOKENIZERS": tokenizers, "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "FETCH_PAUSE": "0.01"}
        variables |= {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1", **environ}
        command = [sys.executable, "-m", *words]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TOKENIZER"))}
        return subprocess.run(command, cwd=SOURCES, env=inherited | variables, capture_output=True, text=True)

    return run


def test_a_hub_that_is_busy_and_breaks_off_is_asked_until_all_is_there_and_then_no_more(hub: Hub, run: Run) -> None:
    name = hub.publish("acme/tiny", TINY)
    hub.faults += [("GET /api", "429"), ("HEAD .*/tokenizer.json", "503"), ("GET .*/tokenizer_config.json", "503")]
    hub.faults += [("GET .*/tokenizer.json", "cut")]

    done = run("rollout_server.fetch", tokenizers=name)

    assert done.returncode == 0, done.stderr
    assert hub.faults == []
    assert not any("model.safetensors" in request for request in hub.asked)
    hub.asked.clear()
    again = run("rollout_server.fetch", tokenizers=name, HF_HUB_OFFLINE="1")
    assert again.stdout == f"acme/tiny is at {name[10:22]}\n", again.stderr
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(f"acme/none@{'0' * 40}", "Repository Not Found", id="no such repository"),
        pytest.param(f"acme/tiny@{'0' * 40}", "Revision Not Found", id="no such commit"),
        pytest.param("acme/tiny@main", "is not owner/model@COMMIT with all 40 digits of a commit", id="a branch"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(hub: Hub, run: Run, name: str, said: str) -> None:
    hub.publish("acme/tiny", TINY)

    done = run("rollout_server.fetch", tokenizers=name, TRANSFORMERS_VERBOSITY="error")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert name in line and said in line


@pytest.mark.slow
def test_a_hub_that_stays_away_is_given_up(hub: Hub, run: Run) -> None:
    name = hub.publish("acme/tiny", TINY)
    hub.faults += [("GET /api", "503")] * 100

    done = run("rollout_server.fetch", tokenizers=name)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{name}: gave up after 3 attempts"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_tokenizer_brings_code_only_where_it_is_trusted(hub: Hub, run: Run, tmp_path: Path, trusted: bool) -> None:
    code = "import os, pathlib; pathlib.Path(os.environ['HF_HOME'], 'ran').touch()\n"
    code += "from transformers import PreTrainedTokenizerFast\nclass Own(PreTrainedTokenizerFast): pass\n"
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    files = TINY | {"own.py": code.encode(), "tokenizer_config.json": json.dumps(config).encode()}

    done = run(
        "rollout_server.fetch",
        tokenizers=hub.publish("acme/own", files),
        TOKENIZER_TRUST_REMOTE_CODE=str(trusted).lower(),
    )

    assert (tmp_path / "ran").exists() == trusted
    assert any("own.py" in request for request in hub.asked) == trusted
    assert done.returncode == (0 if trusted else 1), done.stderr


def test_a_server_whose_tokenizers_were_not_fetched_does_not_start_and_says_what_helps(run: Run) -> None:
    name = f"acme/tiny@{'1' * 40}"

    more = {"ROLLOUT_SERVER_PORT": "0", "TRANSFORMERS_VERBOSITY": "error"}
    done = run("rollout_server.server", tokenizers=name, HF_HUB_OFFLINE="1", **more)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rollout-server: {name}: ")
    assert line.endswith("python -m rollout_server.fetch gets it")

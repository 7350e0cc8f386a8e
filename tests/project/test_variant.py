"""What `--try` means, and a service declared so: judged as the file is, alone, and without limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import DeclarationError, UsageError
from provision.project import load
from provision.project.loaded import LoadedProject
from provision.project.variant import variant
from provision.rollout import choices

DECLARED = """\
[project]
name = "tried"
[models.tiny]
source = "hf://acme/tiny:Q4_K_M"
[models.tiny-q8]
source = "hf://acme/tiny:Q8_0"
spare = true
[models.whole]
source = "hf://acme/whole"
spare = true
[services.db]
command = ["db"]
[services.llm]
preset = "bitnet-server"
model = "tiny"
after = ["db"]
checks = [{ bench = { prompt = 512, generate = 128, tokens_per_second = 40 } }]
[services.web]
command = ["web"]
[targets.here]
hosts = ["sandbox"]
path = "/tmp/tried"
[once.migrate]
command = ["migrate"]
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedProject:
    (tmp_path / "deploy.toml").write_text(DECLARED)
    return load(tmp_path, target="here", environ={})


def test_every_value_meets_every_other() -> None:
    assert choices(["threads=1,2", "draft=none,small"]) == [
        {"threads": "1", "draft": "none"},
        {"threads": "1", "draft": "small"},
        {"threads": "2", "draft": "none"},
        {"threads": "2", "draft": "small"},
    ]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("thread=1", 'Did you mean "threads"'),
        ("threads", "Expected one of threads"),
        ("threads=", "Expected one of threads"),
        ("threads=four", "four is no number"),
        ("context=0", "0 is no number"),
        ("model=none", "without a model"),
        ("threads=" + ",".join(map(str, range(1, 30))), "24 are tried at most"),
    ],
)
def test_what_means_nothing_is_a_sentence(said: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        choices([said])
    assert says in f"{refused.value.what} {refused.value.why}"


def test_a_variant_is_the_service_and_whom_it_waits_for(loaded: LoadedProject) -> None:
    project = variant(loaded, "here", "llm", {"threads": "3", "context": "1024", "model": "tiny-q8"}).project

    assert set(project.services) == {"db", "llm"}
    assert set(project.models) == {"models/tiny-q8.gguf"}
    assert not project.once
    words = ["".join(str(part) for part in word.parts) for word in project.services["llm"].command]
    assert words[words.index("--threads") + 1] == "3"
    assert words[-2:] == ["--ctx-size", "1024"]
    (bench,) = [check.bench for check in project.services["llm"].checks if check.bench]
    assert not bench.tokens_per_second


def test_a_variant_is_judged_as_the_file_is(loaded: LoadedProject) -> None:
    with pytest.raises(DeclarationError, match="llama-server reads GGUF files"):
        variant(loaded, "here", "llm", {"model": "whole"})

"""Every wrong declaration is answered with its place, its key, what was expected, and a way out."""

from pathlib import Path

import pytest
import yaml

from provision.errors import DeclarationError
from provision.project import load

CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text())
]


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_declaration_is_answered_with_all_its_problems(case, tmp_path, monkeypatch):
    problems = problems_of(case, tmp_path, monkeypatch)

    assert problems == case["says"]


def problems_of(case, folder, monkeypatch):
    content = bytes.fromhex(case["bytes"]) if "bytes" in case else case["toml"].encode()
    (folder / "deploy.toml").write_bytes(content)
    assigned = "".join(f"{name}={value}\n" for name, value in case.get("env", {}).items())
    (folder / ".env").write_text(case.get("env_text", assigned))
    monkeypatch.chdir(folder)
    with pytest.raises(DeclarationError) as caught:
        load(folder, environ=case.get("environ", {}))
    return [str(problem) for problem in caught.value.problems]


def test_there_are_enough_cases():
    assert len(CASES) >= 110

"""Databases that would lie in a release."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.project import load
from provision.project.lost import lost


@pytest.mark.parametrize(
    ("url", "data", "said"),
    [
        ("sqlite:///./app.db", "", 'data = ["var"]'),
        ("sqlite+aiosqlite:///db/app.db", "", 'data = ["db"]'),
        ("sqlite:///db/app.db", 'data = ["db"]', ""),
        ("sqlite:////srv/app.db", "", ""),
        ("sqlite:///:memory:", "", ""),
        ("sqlite:///${path}/shared/data/app.db", "", ""),
        ("postgres:///app", "", ""),
    ],
)
def test_a_database_in_the_release_is_named_with_the_folder_that_keeps_it(
    url: str, data: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "deploy.toml").write_text(
        f'[project]\nname = "app"\n[services.web]\ncommand = ["a"]\n{data}\nenv = {{ DATABASE_URL = "{url}" }}\n'
        '[targets.here]\nhosts = ["root@a"]\npath = "/srv/app"\n'
    )
    found = [fault.hint for fault in lost(load(tmp_path, environ={}).project)]
    assert [said in hint for hint in found] == ([True] if said else [])

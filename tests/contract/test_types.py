"""A key that one side misspells is seen before anything runs, on whichever side that is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

_ROOT = Path(__file__).parents[2]

# Where a key is written or read, and how it is spelled wrongly there.
_PLANTED = {
    "what the laptop sends": ("provision/targets/transact.py", '"generation": plan_', '"genration": plan_'),
    "what the host reads": ("provision/agent/activate.py", 'request["generation"]', 'request["genration"]'),
    "what the host answers": ("provision/agent/transaction.py", '"outcome": COMMITTED', '"outcom": COMMITTED'),
    "what the laptop is told": ("provision/targets/transact.py", 'answer["outcome"] ==', 'answer["outcom"] =='),
    "what the laptop writes into a release": ("provision/manifests/lanes.py", "stop_timeout=", "stop_timout="),
    "what the host reads there": ("provision/agent/programs.py", 'each["stop_timeout"]', 'each["stop_timout"]'),
    "what the host writes into its journal": ("provision/agent/beginning.py", '"boot": boot_', '"boots": boot_'),
    "what the host reads in it": ("provision/agent/ending.py", 'begin["boot"]', 'begin["boots"]'),
}


def test_a_misspelled_key_is_seen_on_either_side(tmp_path: Path) -> None:
    shadows: dict[str, str] = {}
    for file, right, wrong in _PLANTED.values():
        text = shadows.get(file) or (_ROOT / file).read_text()
        assert text.count(right) >= 1, f"{file} has no {right}"
        shadows[file] = text.replace(right, wrong, 1)
    options = []
    for file, text in shadows.items():
        shadow = tmp_path / file.replace("/", "-")
        shadow.write_text(text)
        options += ["--shadow-file", str(_ROOT / file), str(shadow)]
    files = [str(_ROOT / file) for file in shadows]

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}/cache", *options, *files],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    unseen = [
        what
        for what, (file, _, wrong) in _PLANTED.items()
        if not any(line.startswith(f"{file}:") and _word(wrong) in line for line in done.stdout.splitlines())
    ]
    assert unseen == [], done.stdout + done.stderr


def _word(wrong: str) -> str:
    """The misspelled key itself."""
    return max((word for word in ("genration", "outcom", "stop_timout", "boots") if word in wrong), key=len)

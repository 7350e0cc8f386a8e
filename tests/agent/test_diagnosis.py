"""What a program's log tells of why it ended; whoever writes that log may lie."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from provision.agent.diagnosis import of_end
from provision.contract.failure import UNPROVEN, Failure

WEB: Any = {"name": "web"}


def told(line: str, folder: Path) -> Failure:
    return of_end(Failure(UNPROVEN, "web exited with status 127", log=[line]), WEB, str(folder))


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    said = told("launch: 9: exec: ./serve: not found", tmp_path)
    assert said.what == "web exited with status 127: there is no ./serve in the release"


@pytest.mark.parametrize("name", ["$(reboot)", "`reboot`", "a;reboot", "a&&reboot", "a>b", "'a"])
def test_no_name_is_told_that_would_mean_more_where_somebody_types_it(name: str, tmp_path: Path) -> None:
    said = told(f"sh: exec: {name}: Permission denied", tmp_path)
    assert (said.what, said.next_step) == ("web exited with status 127", "")


def test_a_pipe_that_a_service_names_for_its_program_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "serve")
    found: list[Failure] = []
    asking = threading.Thread(target=lambda: found.append(told("sh: exec: ./serve: not found", tmp_path)), daemon=True)
    asking.start()
    asking.join(10)
    assert [each.what for each in found] == ["web exited with status 127: there is no ./serve in the release"]

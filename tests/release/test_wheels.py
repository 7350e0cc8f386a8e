"""Which wheels run on a host, as it says of itself; and what fetches them ends."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from provision import uv
from provision.errors import DeployError
from provision.release import wheels


def tags(libc: str) -> list[str]:
    host: Any = {"event": "result", "machine": "x86_64", "libc": libc, "version": "3.11.7"}
    return wheels._platforms(host)


def test_the_newest_come_first_down_to_the_oldest() -> None:
    found = tags("glibc 2.17")
    assert found[:3] == ["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_16_x86_64"]
    assert found[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    assert tags("")[0] == "musllinux_1_2_x86_64"


@pytest.mark.parametrize("libc", ["glibc 2.4000000000", f"glibc 2.{'9' * 5000}"])
def test_a_host_that_lies_about_its_library_fills_no_memory(libc: str) -> None:
    assert len(tags(libc)) < 10


def test_what_fetches_packages_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "_SECONDS", 0.3)
    with pytest.raises(DeployError, match="no packages") as failed:
        uv.ended([sys.executable, "-c", "import time; time.sleep(60)"], None, os.environ, "no packages.")
    assert "did not end in" in failed.value.why

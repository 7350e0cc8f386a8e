"""How many compilers run at once: what a container may use, not what its host has."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from provision.native import machine

GIB = 2**30


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def big_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 cores and 256 GiB, of which cgroups may allow less."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    memory = psutil.virtual_memory()._replace(available=256 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        pytest.param("0::/\n", {}, 64, id="no limit"),
        pytest.param("0::/job\n", {"job/cpu.max": "max 100000\n"}, 64, id="v2 unlimited"),
        pytest.param("0::/job\n", {"job/cpu.max": "250000 100000\n"}, 2, id="v2 two and a half"),
        pytest.param("0::/job\n", {"job/cpu.max": "50000 100000\n"}, 1, id="v2 half a core"),
        pytest.param(
            "0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, 4, id="v2 of the parent"
        ),
        pytest.param("0::/host/path/unseen\n", {"cpu.max": "300000 100000\n"}, 3, id="v2 in a container"),
        pytest.param(
            "4:cpu,cpuacct:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
            id="v1",
        ),
        pytest.param(
            "4:cpu,cpuacct:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            64,
            id="v1 unlimited",
        ),
    ],
)
def test_cores(membership: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert machine.usable_cores(tree(tmp_path, files), membership) == cores


@pytest.mark.parametrize(
    ("membership", "files", "available"),
    [
        pytest.param("0::/\n", {}, 256 * GIB, id="no limit"),
        pytest.param("0::/j\n", {"j/memory.max": "max\n", "j/memory.current": "5\n"}, 256 * GIB, id="v2 unlimited"),
        pytest.param(
            "0::/j\n",
            {
                "j/memory.max": f"{8 * GIB}\n",
                "j/memory.current": f"{6 * GIB}\n",
                "j/memory.stat": f"anon 1\ninactive_file {GIB}\nactive_file {GIB}\n",
            },
            4 * GIB,
            id="v2, page cache counts as free",
        ),
        pytest.param(
            "9:memory:/\n",
            {"memory/memory.limit_in_bytes": f"{2 * GIB}\n", "memory/memory.usage_in_bytes": f"{GIB}\n"},
            GIB,
            id="v1",
        ),
        pytest.param("0::/j\n", {"j/memory.max": "1000\n", "j/memory.current": "2000\n"}, 0, id="over its limit"),
    ],
)
def test_memory(membership: str, files: dict[str, str], available: int, tmp_path: Path) -> None:
    assert machine.available_memory(tree(tmp_path, files), membership) == available


@pytest.mark.parametrize(
    ("cores", "memory", "jobs"), [(8, 64 * GIB, 8), (8, 6 * GIB, 4), (8, GIB, 1), (1, 64 * GIB, 1)]
)
def test_jobs_are_bounded_by_what_is_short(cores: int, memory: int, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine, "available_memory", lambda: memory)
    assert machine.jobs() == jobs


def test_this_machine_can_run_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= machine.jobs() <= (os.cpu_count() or 1)

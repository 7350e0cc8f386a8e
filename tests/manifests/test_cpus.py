"""`${cpus}`: counted by the launcher, on the host, when the program starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.manifests.projects import install, project, service
from tests.manifests.test_launcher import SHELLS
from tests.manifests.values import ECHO, Echo

SCHEDULED = len(os.sched_getaffinity(0))


def count(
    path: Path, groups: str, quotas: Mapping[str, str], shell: Sequence[str] = ("sh",), resources: object = None
) -> str:
    """What `${cpus}` is where /proc/self/cgroup and /sys/fs/cgroup hold `groups` and `quotas`, with 64 CPUs."""
    for name, text in {"proc": groups, **{f"sys/{name}": text for name, text in quotas.items()}}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    (path / "bin").mkdir()
    (path / "bin" / "nproc").write_text('#!/bin/sh\necho "${OMP_NUM_THREADS:-64}"\n')
    (path / "bin" / "nproc").chmod(0o755)
    declared = {"command": [*ECHO, "${cpus}"], "resources": resources or {}}
    launcher = install(service(project({"web": declared}, path=path), "web"), path)
    text = launcher.read_text().replace("/proc/self/cgroup", f"{path}/proc").replace("/sys/fs/cgroup", f"{path}/sys")
    launcher.write_text(text)
    environment = {"PATH": f"{path}/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "3"}
    done = subprocess.run([*shell, launcher], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return Echo.of(done.stdout).argv[0]


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize(
    ("groups", "quotas", "cpus"),
    [
        ("0::/\n", {}, "64"),
        ("0::/\n", {"cpu.max": "max 100000\n"}, "64"),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, "4"),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, "2"),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, "1"),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "300000 100000\n"}, "3"),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "cpu.max": "300000 100000\n"}, "2"),
        ("0::/not/mounted/here\n", {"cpu.max": "500000 100000\n"}, "5"),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "700000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, "7"),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, "64"),
        ("3:cpuset:/x\n", {"cpuset/x/cpu.cfs_quota_us": "100000\n"}, "64"),
        ("0::/with space:and colon\n", {"with space:and colon/cpu.max": "600000 100000\n"}, "6"),
        ("", {}, "64"),
    ],
)
def test_the_quota_of_every_control_group_around_the_program_counts(
    shell: Sequence[str], groups: str, quotas: dict[str, str], cpus: str, tmp_path: Path
) -> None:
    assert count(tmp_path, groups, quotas, shell) == cpus


@pytest.mark.parametrize(("declared", "cpus"), [(2, "2"), (2.9, "2"), (0.5, "1"), (500, "64")])
def test_declared_cpus_are_an_upper_bound(declared: float, cpus: str, tmp_path: Path) -> None:
    assert count(tmp_path, "0::/\n", {}, resources={"cpus": declared}) == cpus


def test_on_this_machine_no_more_cpus_are_counted_than_the_scheduler_gives(tmp_path: Path) -> None:
    declared = {"command": [*ECHO, "--threads=${cpus}!"], "env": {"THREADS": "${cpus}"}}
    launcher = install(service(project({"web": declared}, path=tmp_path), "web"), tmp_path)

    one_cpu = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [launcher], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, one_cpu)
    )

    told = Echo.of(done.stdout)
    assert told.argv == ["--threads=1!"]
    assert told.env["THREADS"] == "1"

"""What this process may use: its share of the machine, not the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bitnet.machine import Cpu, GpuState, read_cpu, read_gpus, read_machine, read_memory
from bitnet.machine.cgroups import groups
from bitnet.machine.gpu import Gpu, visible
from bitnet.machine.numa import read_nodes
from bitnet.machine.sandbox import read_sandbox
from tests.bitnet.runtime.trees import V2_MOUNT, tree, v1, v2

GIB = 1 << 30


class TestControlGroups:
    def test_the_own_group_and_its_ancestors_bind(self, tmp_path: Path) -> None:
        root = v2(tmp_path, "/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "max 100000"})

        assert [group.path.relative_to(root) for group in groups("cpu", root)] == [
            Path("sys/fs/cgroup/a/b"),
            Path("sys/fs/cgroup/a"),
            Path("sys/fs/cgroup"),
        ]

    def test_a_container_that_sees_only_its_own_part_of_the_hierarchy(self, tmp_path: Path) -> None:
        mount = V2_MOUNT.replace("0:26 / /sys", "0:26 /docker/x /sys")
        root = v2(tmp_path, "/docker/x/inner", {"inner/cpu.max": "50000 100000"})
        tree(root, {"proc/self/mountinfo": mount})

        assert [group.path.name for group in groups("cpu", root)] == ["inner", "cgroup"]

    @pytest.mark.parametrize("path", ["/elsewhere", "/../../outside"])
    def test_a_group_outside_the_mount_leaves_the_mount_itself(self, tmp_path: Path, path: str) -> None:
        root = v2(tmp_path, path, {"cpu.max": "150000 100000"})
        mount = V2_MOUNT.replace("0:26 / /sys", "0:26 /docker/x /sys") if path == "/elsewhere" else V2_MOUNT
        tree(root, {"proc/self/mountinfo": mount})

        assert [group.path.name for group in groups("cpu", root)] == ["cgroup"]

    def test_no_control_groups_at_all(self, tmp_path: Path) -> None:
        assert groups("cpu", tmp_path) == []
        tree(tmp_path, {"proc/self/cgroup": "0::/\n"})
        assert groups("cpu", tmp_path) == []


class TestCpu:
    @pytest.mark.parametrize(
        ("quota", "usable", "threads"),
        [(None, 16, 8), (0.5, 1, 1), (1.9, 1, 1), (4.0, 4, 4), (12.0, 12, 8), (64.0, 16, 8)],
    )
    def test_threads_are_whole_cores_within_the_quota(self, quota: float | None, usable: int, threads: int) -> None:
        cpu = Cpu(architecture="x86_64", features=frozenset(), logical=16, physical=8, quota=quota)

        assert (cpu.usable, cpu.threads) == (usable, threads)
        assert cpu.as_dict()["usable"] == usable

    def test_the_smallest_quota_of_the_ancestors_counts_in_v2(self, tmp_path: Path) -> None:
        root = v2(tmp_path, "/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "150000 100000"})

        assert read_cpu(root).quota == 1.5

    def test_the_smallest_quota_of_the_ancestors_counts_in_v1(self, tmp_path: Path) -> None:
        files = {
            "cpu,cpuacct/a/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        }
        assert read_cpu(v1(tmp_path, "/a", files)).quota == 2.5

    def test_no_quota_is_no_limit(self, tmp_path: Path) -> None:
        assert read_cpu(v2(tmp_path, "/", {"cpu.max": "max 100000"})).quota is None

    def test_hyperthreads_of_one_core_count_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5, 9})
        topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        siblings = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5"}
        cpu = read_cpu(tree(tmp_path, {topology.format(number): text for number, text in siblings.items()}))

        assert (cpu.logical, cpu.physical) == (5, 3), "a CPU without topology is a core of its own"

    @pytest.mark.parametrize(
        ("text", "features", "name"),
        [
            (
                "processor\t: 0\nmodel name\t: EPYC\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\n",
                {"avx2", "fma"},
                "EPYC",
            ),
            ("processor\t: 0\nFeatures\t: asimd sve\n", {"asimd", "sve"}, ""),
        ],
    )
    def test_features_are_those_that_the_kernel_names(
        self, tmp_path: Path, text: str, features: set[str], name: str
    ) -> None:
        cpu = read_cpu(tree(tmp_path, {"proc/cpuinfo": text}))

        assert features <= cpu.features
        assert cpu.model == name

    def test_affinity_of_this_process_binds_for_real(self) -> None:
        code = (
            "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
            "from bitnet import BitNetRuntime; print(BitNetRuntime('x').cpu_count)"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert out.strip() == "1"


# By version: the file, and one CPU, and 300 MiB.
_LIMITS = {
    "cpu": {1: ("cpu.cfs_quota_us", "100000"), 2: ("cpu.max", "100000 100000")},
    "memory": {1: ("memory.limit_in_bytes", "300M"), 2: ("memory.max", "300M")},
}


@pytest.mark.root
def test_limits_of_a_real_control_group_bind_a_real_process() -> None:
    own = f"bitnet-test-{os.getpid()}"
    # Where both versions are mounted, version 1 has the controllers; the shortest path is the mount itself.
    tops = {
        name: min(groups(name), key=lambda group: (group.version, len(group.path.parts))) for name in ("cpu", "memory")
    }
    folders = {controller: top.path / own for controller, top in tops.items()}
    for folder in set(folders.values()):
        folder.mkdir()
    try:
        # A container may be in a group of that controller and not see it: then there is nothing to set a limit on.
        for controller, limit in _LIMITS.items():
            name, text = limit[tops[controller].version]
            if not (folders[controller] / name).exists():
                pytest.skip(f"no control group of {controller} is this machine's to divide")
            (folders[controller] / name).write_text(text)
        join = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in set(folders.values()))
        ask = "from bitnet.machine import *; print(read_memory().total, read_cpu().usable, read_cpu().threads)"
        done = subprocess.run(
            ["sh", "-c", f'{join} exec "$0" -c "{ask}"', sys.executable], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(300 << 20), "1", "1"]
    finally:
        for folder in set(folders.values()):
            folder.rmdir()


class TestMemory:
    def test_without_limits_it_is_the_machine(self, tmp_path: Path) -> None:
        memory = read_memory(v2(tmp_path, "/", {"memory.max": "max"}))

        assert memory.limit is None
        assert memory.total == psutil.virtual_memory().total

    def test_a_limit_of_v2_counts_without_the_page_cache(self, tmp_path: Path) -> None:
        files = {
            "a/memory.max": str(GIB),
            "a/memory.current": str(900 << 20),
            "a/memory.stat": f"anon 5\ninactive_file {800 << 20}\n",
        }
        memory = read_memory(v2(tmp_path, "/a", files))

        assert (memory.total, memory.limit) == (GIB, GIB)
        assert memory.available == GIB - (100 << 20)
        assert memory.as_dict()["cgroup_limit_bytes"] == GIB

    def test_the_tightest_ancestor_counts_in_v1(self, tmp_path: Path) -> None:
        files = {
            "memory/a/memory.limit_in_bytes": str(2 * GIB),
            "memory/a/memory.usage_in_bytes": "0",
            "memory/memory.limit_in_bytes": str(GIB),
            "memory/memory.usage_in_bytes": str(GIB // 2),
            "memory/memory.stat": f"total_inactive_file {GIB // 4}\n",
        }
        memory = read_memory(v1(tmp_path, "/a", files))

        assert (memory.limit, memory.available) == (GIB, GIB - GIB // 4)

    def test_no_limit_in_v1_is_a_very_large_number(self, tmp_path: Path) -> None:
        files = {"memory/memory.limit_in_bytes": "9223372036854771712"}

        assert read_memory(v1(tmp_path, "/", files)).limit is None

    def test_a_group_over_its_limit_has_nothing_left(self, tmp_path: Path) -> None:
        files = {"memory.max": str(GIB), "memory.current": str(2 * GIB)}

        assert read_memory(v2(tmp_path, "/", files)).available == 0


def gpu(index: int, free: int = GIB, total: int = 2 * GIB) -> Gpu:
    return Gpu(index, f"GPU-{index}abc", f"H{index}", total, free)


class NvmlError(Exception):
    pass


class FakeNvml(SimpleNamespace):
    """The part of pynvml that is read: this machine has no GPU."""

    NVMLError = NvmlError

    def __init__(self, devices: list[Gpu], *, driver: bool = True, as_bytes: bool = False) -> None:
        super().__init__(devices=devices, driver=driver, open=0)
        self.text: Callable[[str], Any] = str.encode if as_bytes else str

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise NvmlError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        return self.devices[index]

    def nvmlDeviceGetMemoryInfo(self, device: Gpu) -> Any:  # noqa: N802
        return SimpleNamespace(total=device.memory_total, free=device.memory_free)

    def nvmlDeviceGetUUID(self, device: Gpu) -> Any:  # noqa: N802
        return self.text(device.uuid)

    def nvmlDeviceGetName(self, device: Gpu) -> Any:  # noqa: N802
        return self.text(device.name)

    def nvmlSystemGetDriverVersion(self) -> Any:  # noqa: N802
        return self.text("580.1")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[FakeNvml]:
    fake = FakeNvml(**getattr(request, "param", {"devices": [gpu(0), gpu(1, free=0)]}))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    yield fake
    assert fake.open == 0, "every nvmlInit has its nvmlShutdown"


class TestGpu:
    def test_present_gpus_are_described(self, nvml: FakeNvml) -> None:
        found = read_gpus({})

        assert found.state is GpuState.PRESENT
        assert [device.name for device in found.devices] == ["H0", "H1"]
        assert (found.memory_free, found.pressure, found.driver) == (GIB, 0.75, "580.1")
        assert found.as_dict()["state"] == "present"

    @pytest.mark.parametrize("nvml", [{"devices": [gpu(0)], "as_bytes": True}], indirect=True)
    def test_old_bindings_that_give_bytes_read_the_same(self, nvml: FakeNvml) -> None:
        assert read_gpus({}).devices == (gpu(0),)

    @pytest.mark.parametrize("nvml", [{"devices": [], "driver": False}], indirect=True)
    def test_no_driver_is_a_state(self, nvml: FakeNvml) -> None:
        assert read_gpus({}).state is GpuState.NO_DRIVER

    def test_a_gpu_that_fell_off_its_bus_is_a_state(self, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost(_: object) -> None:
            raise NvmlError("GPU is lost")

        monkeypatch.setattr(nvml, "nvmlDeviceGetMemoryInfo", lost)
        found = read_gpus({})

        assert (found.state, found.devices, found.problem) == (GpuState.BROKEN, (), "GPU is lost")

    def test_no_package_is_a_state(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        found = read_gpus({})

        assert (found.state, found.devices, found.pressure) == (GpuState.NO_PACKAGE, (), 0.0)

    def test_no_visible_gpu_is_a_state(self, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

        assert read_gpus().state is GpuState.NONE_VISIBLE

    @pytest.mark.parametrize(
        ("wanted", "indices"),
        [
            (None, [0, 1, 2]),
            ("", []),
            ("1", [1]),
            ("2,0", [2, 0]),
            ("0,7,1", [0]),
            ("GPU-1", [1]),
            ("-1", []),
            (" 1 , 2 ", [1, 2]),
        ],
    )
    def test_cuda_visible_devices_decides(self, wanted: str | None, indices: list[int]) -> None:
        environment = {} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted}

        assert [device.index for device in visible([gpu(0), gpu(1), gpu(2)], environment)] == indices


def test_numa_nodes_have_cpus_and_memory(tmp_path: Path) -> None:
    files = {
        f"sys/devices/system/node/node{index}/{name}": text
        for index, cpus in ((0, "0-7"), (10, "8-15"), (2, "16"))
        for name, text in (
            ("cpulist", f"{cpus}\n"),
            ("meminfo", f"Node {index} MemTotal:     2048 kB\nNode {index} MemFree:  1024 kB\nNode {index} Odd: x\n"),
        )
    }
    nodes = read_nodes(tree(tmp_path, files))

    assert [node.index for node in nodes] == [0, 2, 10]
    assert nodes[0].as_dict() == {"index": 0, "cpus": "0-7", "memory_total": 2 << 20, "memory_free": 1 << 20}


def test_the_fences_are_read_from_proc(tmp_path: Path) -> None:
    status = "Name:\tx\nSeccomp:\t2\nNoNewPrivs:\t1\nCapEff:\t00ff\nNSpid:\t77\t1\n"
    root = tree(tmp_path, {"proc/self/status": status})
    for folder, kinds in (("self", {"net": 5, "pid": 6}), ("1", {"net": 5, "pid": 7})):
        (root / f"proc/{folder}/ns").mkdir(parents=True)
        for kind, number in kinds.items():
            (root / f"proc/{folder}/ns/{kind}").symlink_to(f"{kind}:[{number}]")

    fences = read_sandbox(root)

    assert (fences.seccomp, fences.no_new_privs, fences.capabilities, fences.pid_depth) == ("filter", True, "00ff", 2)
    assert fences.unshared == ["pid"]
    assert fences.uid == os.geteuid()
    assert fences.as_dict()["namespaces"] == {"net": "net:[5]", "pid": "pid:[6]"}


def test_what_may_not_be_read_is_not_claimed(tmp_path: Path) -> None:
    fences = read_sandbox(tmp_path)

    assert (fences.seccomp, fences.no_new_privs, fences.unshared) == ("unknown", None, None)


def test_this_machine_can_be_read() -> None:
    machine = read_machine()

    assert 1 <= machine.cpu.threads <= machine.cpu.usable <= machine.cpu.logical
    assert 0 < machine.memory.available <= machine.memory.total
    assert read_nodes() is not None

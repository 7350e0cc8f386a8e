"""How long a large project takes in a cluster, against kubectl with the very same objects.

    python -m benchmarks.cluster [--services 300] [--pods 2000] [--nodes 500]

The API server, its store, the controllers and the scheduler are real; nodes and pods are kwok's, so that they cost
nothing (`scripts/cluster build scale`). kubectl has the objects that `deploy render kubernetes` gives, in a namespace
of its own: `apply --server-side --prune --applyset`, then `rollout status` of all. Its `plan` is `diff --server-side`.
Needs root: the cluster is in namespaces of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.cluster.kept.wanted import rendered
from provision.project import load
from tests.cluster.many import with_nodes
from tests.cluster.parts import KUBECTL
from tests.testbed.slots import take_slot

_SECONDS = 1800  # of one command
_IMAGE = "registry.example/web@sha256:" + "0" * 64


@dataclass(frozen=True)
class Took:
    """What one command took."""

    seconds: float
    mebibytes: float  # of memory, at most
    processor: float  # seconds of it


def declare(folder: Path, namespace: str, services: int, pods: int, version: str) -> None:
    """A project of so many services, which have so many pods in all."""
    text = f'[project]\nname = "{namespace}"\nimage = "{_IMAGE}"\n\n[targets.k8s]\nplatform = "kubernetes"\n'
    for number in range(services):
        copies = pods // services + (number < pods % services)
        text += f'\n[services.s{number}]\ncommand = ["/web", "${{port}}"]\nport = {8000 + number}\n'
        text += f'replicas = {copies}\ndrain = "0s"\n'
        text += f'resources = {{ memory = "32MiB", cpus = 0.01 }}\nenv = {{ VERSION = "{version}" }}\n'
    (folder / "deploy.toml").write_text(text)


def timed(command: Sequence[str | Path], folder: Path, kubeconfig: Path, codes: Sequence[int] = (0,)) -> Took:
    """Run one command alone.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECTL_APPLYSET": "true"}
    environ |= {"XDG_STATE_HOME": str(folder / "state"), "PATH": f"{KUBECTL.parent}:{os.environ['PATH']}"}
    with (folder / "said").open("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        late = threading.Timer(_SECONDS, process.kill)
        late.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            late.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            raise RuntimeError(f"{command}: {(folder / 'said').read_text()[-3000:]}")
    return Took(seconds, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)


def ours(folder: Path, kubeconfig: Path, *words: str) -> Took:
    return timed([sys.executable, "-m", "provision.cli", *words], folder, kubeconfig)


def theirs(folder: Path, kubeconfig: Path, namespace: str) -> Took:
    """apply, and wait until all of it runs."""
    kubectl: list[str | Path] = [KUBECTL, "--namespace", namespace]
    options = ["--server-side", "--prune", "--applyset", "configmaps/theirs", "-R", "-f", "rendered"]
    applied = timed([*kubectl, "apply", *options], folder, kubeconfig)
    waited = timed([*kubectl, "rollout", "status", "deployment", "-l", "channel=stable"], folder, kubeconfig)
    return Took(
        applied.seconds + waited.seconds, max(applied.mebibytes, waited.mebibytes), applied.processor + waited.processor
    )


def render(folder: Path) -> None:
    """Have in `rendered` what stable applies."""
    loaded = load(folder)
    release = rendered(loaded.project, loaded.project.targets["k8s"], loaded.root)
    (folder / "rendered").mkdir(exist_ok=True)
    objects = {"apiVersion": "v1", "kind": "List", "items": release.lanes["stable"]}
    (folder / "rendered/all.json").write_text(json.dumps(objects))


def measure(kubeconfig: Path, services: int, pods: int) -> Iterator[tuple[str, Took, Took]]:
    """Each case as it is done: its name, ours, kubectl's."""
    folders = {name: Path(tempfile.mkdtemp(prefix=f"deploy-bench-{name}-")) for name in ("ours", "theirs")}
    try:
        for name in folders:
            timed([KUBECTL, "create", "namespace", name], folders[name], kubeconfig)
        for version, case in (("1", "new"), ("1", "unchanged"), ("2", "all changed")):
            for name, folder in folders.items():
                declare(folder, name, services, pods, version)
            render(folders["theirs"])
            diff: list[str | Path] = [KUBECTL, "--namespace", "theirs", "diff", "--server-side", "-R", "-f", "rendered"]
            planned = ours(folders["ours"], kubeconfig, "plan")
            yield f"plan, {case}", planned, timed(diff, folders["theirs"], kubeconfig, (0, 1))
            up = ours(folders["ours"], kubeconfig, "up")
            yield f"up, {case}", up, theirs(folders["theirs"], kubeconfig, "theirs")
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=300)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=500)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its cluster ends, too
    slot = take_slot()
    try:
        cluster = with_nodes(slot, options.nodes)
        try:
            print(f"{options.nodes} nodes, {options.pods} pods, {options.services} services")
            print(f"{'':<20}{'deploy':>30}{'kubectl':>30}{'ratio':>8}{'load':>8}", flush=True)
            for case, mine, other in measure(cluster.kubeconfig, options.services, options.pods):
                cells = [
                    f"{each.seconds:.1f} s, {each.processor:.1f} CPU, {each.mebibytes:.0f} MiB"
                    for each in (mine, other)
                ]
                ratio = f"{mine.seconds / other.seconds:>8.2f}{os.getloadavg()[0]:>8.1f}"
                print(f"{case:<20}{cells[0]:>30}{cells[1]:>30}{ratio}", flush=True)
        finally:
            cluster.destroy()
    finally:
        slot.release()


if __name__ == "__main__":
    main()

"""How long it takes to render a large project, beside `kubectl kustomize`, which reads and writes the same objects.

python benchmarks/render.py [SERVICES …]

Processor time, so that other work on the machine does not count: files as text, nothing written. kubectl's is all that
its process takes, with the files on disk already; for a hundred services, because a thousand take it minutes.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from provision.platforms import face
from provision.project.finish import finish
from provision.project.platforms import PLATFORMS
from provision.project.schema import Declaration, Project

SIZES = (1000, 10000)
GOAL_SECONDS = 2.0  # for the first of them
COMPARED = 100
LINEAR = 1.5  # a service of the largest may cost that much more than one of the smallest
NOWHERE = Path("/nonexistent")  # a project without templates of its own
IMAGE = "ghcr.io/acme/large@sha256:" + "0123456789abcdef" * 4


def project(services: int) -> Project:
    """One in which each service calls the one before, has a secret, a check, and limits."""

    def service(at: int) -> dict[str, object]:
        other = f"service-{max(at - 1, 0)}"
        return {
            "command": ["python3", "-m", "uvicorn", "main:app", "--host", "${listen}", "--port", "${port}"],
            "port": 1024 + at,
            "env": {"UPSTREAM": f"http://${{services.{other}.host}}:${{services.{other}.port}}/", "MODE": "serve"},
            "secrets": ["TOKEN"],
            "check": {"http": "/health"},
            "replicas": 3,
            "resources": {"size": "small"},
        }

    return finish(
        Declaration.model_validate(
            {
                "project": {"name": "large", "image": IMAGE},
                "services": {f"service-{at}": service(at) for at in range(services)},
                "targets": {"fleet": {"platform": "systemd", "hosts": ["a"], "path": "/srv/large"}},
            }
        )
    )


def measured(work: Callable[[], dict[str, str]]) -> tuple[float, dict[str, str]]:
    began = time.process_time()
    files = work()
    return time.process_time() - began, files


def kustomized(files: dict[str, str], kubectl: str) -> float:
    """Seconds of kubectl for both channels."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for overlay in ("production", "canary"):
            built = Path(folder) / "overlays" / overlay
            subprocess.run([kubectl, "kustomize", built], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(sizes: tuple[int, ...]) -> int:
    met = True
    a_service: dict[str, list[float]] = {"kubernetes": [], "systemd": []}
    print(f"{'services':>8}  {'platform':<11}{'files':>7}{'MB':>7}{'seconds':>9}{'a service':>12}")
    for size in sizes:
        declared = project(size)
        for platform in a_service:
            target = declared.targets["fleet"] if PLATFORMS[platform].rendered_for == "target" else None
            seconds, files = measured(lambda: face(platform).files(declared, target, NOWHERE))  # noqa: B023
            a_service[platform].append(seconds / size)
            megabytes = sum(map(len, files.values())) / 1e6
            shown = f"{len(files):>7}{megabytes:>7.1f}{seconds:>9.2f}{seconds / size * 1000:>9.2f} ms"
            print(f"{size:>8}  {platform:<11}{shown}")
            if size == sizes[0]:
                met = met and seconds <= GOAL_SECONDS * size / SIZES[0]
    linear = all(costs[-1] <= LINEAR * costs[0] for costs in a_service.values())
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl:
        few = project(COMPARED)
        ours, files = measured(lambda: face("kubernetes").files(few, None, NOWHERE))
        theirs = kustomized(files, kubectl)
        print(f"{COMPARED} services on Kubernetes: {ours:.2f} s; kubectl kustomize of the same objects: {theirs:.2f} s")
    print(f"goal: at most {GOAL_SECONDS:g} s for {SIZES[0]} services on one core: {'met' if met else 'MISSED'}")
    if len(sizes) > 1:
        print(f"goal: linear from {sizes[0]} to {sizes[-1]}: {'met' if linear else 'MISSED'}")
    return 0 if met and linear else 1


if __name__ == "__main__":
    sys.exit(main(tuple(map(int, sys.argv[1:])) or SIZES))

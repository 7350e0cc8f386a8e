"""What a newcomer waits for: from a fresh clone to the end of `make demo`, and once more.

    python -m benchmarks.first_run [--revision REV] [--engine build]

The clone has a home and caches of its own, so everything is fetched and made anew; system packages are the machine's.
`packages` is what scripts/install-packages takes, told apart because a machine that has them all takes none of it.
With `--revision` an older state is measured the same way, to compare.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOALS = {"first line": 2.0, "demo, cold": 60.0, "demo, again": 12.0}  # seconds, on two idle cores
# What reaches an index or a mirror, and nothing else of whoever measures.
KEPT = ("PATH", "LANG", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy")


def environment(home: Path) -> dict[str, str]:
    """A person who has just come to this machine."""
    kept = {name: os.environ[name] for name in os.environ if name in KEPT or name.startswith(("PIP_", "UV_INDEX"))}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}


def timed(command: list[str], folder: Path, environ: Mapping[str, str]) -> tuple[float, float, str]:
    """Seconds to the first line of output, seconds in all, and the output."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    first = process.stdout.readline()
    until_first = time.perf_counter() - began
    rest = process.stdout.read()
    process.wait()
    text = (first + rest).decode(errors="replace")
    if process.returncode != 0:
        sys.exit(
            f"{' '.join(command)}: exit status {process.returncode} after {time.perf_counter() - began:.0f} s\n{text}"
        )
    return until_first, time.perf_counter() - began, text


def megabytes(folder: Path) -> int:
    """What a folder takes on the disk; a file that has several names counts once."""
    sizes = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob("*") for s in [p.lstat()]}
    return round(sum(sizes.values()) / 1e6)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--revision", default="HEAD", help="which state of this repository (default: the newest commit)"
    )
    options.add_argument("--engine", choices=("wheel", "build"), default="wheel", help="of the demo (default: wheel)")
    asked = options.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="first-run-"))
    try:
        clone, home = scratch / "clone", scratch / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
        subprocess.run(["git", "-C", clone, "checkout", "--quiet", "--detach", asked.revision], check=True)
        environ = environment(home)
        demo = ["make", "demo", *([] if asked.engine == "wheel" else [f"ENGINE={asked.engine}"])]
        _, packages, _ = timed(["scripts/install-packages", "demo"], clone, environ)
        first, cold, _ = timed(demo, clone, environ)
        _, made, _ = timed(["scripts/make-venv", "run"], clone, environ)
        _, again, _ = timed(demo, clone, environ)
        measured = {"packages": packages, "first line": first, "demo, cold": cold, "demo, again": again}
        measured["environment, again"] = made
        print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, engine {asked.engine}")
        for name, seconds in measured.items():
            goal = f"  (goal {GOALS[name]:g}: {'met' if seconds <= GOALS[name] else 'MISSED'})" if name in GOALS else ""
            print(f"{name:<20}{seconds:>7.1f} s{goal}")
        for name, folder in (("environment", clone / ".venv"), ("caches", home)):
            print(f"{name:<20}{megabytes(folder):>7} MB")
        return 0 if all(measured[name] <= goal for name, goal in GOALS.items()) or asked.engine == "build" else 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

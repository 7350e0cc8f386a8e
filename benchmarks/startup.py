"""How long a person waits before anything happens: `deploy --help` beside `python -c pass`, and what costs the time.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 20
GOAL_SECONDS = 0.1  # over `python -c pass`
# What is imported where it is used, and not at the top of a file; a library that costs next to nothing isn't.
LATE = ("pydantic", "paramiko", "jinja2", "docker", "cryptography.hazmat.primitives.serialization", "rich", "unearth")
CASES = {
    "python -c pass": ["-c", "pass"],
    "import click": ["-c", "import click"],
    **{f"import {name.partition('.')[0]}": ["-c", f"import {name}"] for name in LATE},
    "deploy --help": ["-m", "provision.cli", "--help"],
    "deploy up --help": ["-m", "provision.cli", "up", "--help"],
}


def measure(arguments: list[str]) -> list[float]:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return times


def main() -> int:
    results = {name: measure(arguments) for name, arguments in CASES.items()}
    bare = min(results["python -c pass"])
    print(f"{'':<18}{'best':>9}{'median':>9}{'over python':>13}")
    for name, times in results.items():
        best, median = min(times), statistics.median(times)
        print(f"{name:<18}{best * 1000:>6.0f} ms{median * 1000:>6.0f} ms{(best - bare) * 1000:>10.0f} ms")
    over = min(results["deploy --help"]) - bare
    print(f"goal: at most {GOAL_SECONDS * 1000:.0f} ms over python: {'met' if over <= GOAL_SECONDS else 'MISSED'}")
    return 0 if over <= GOAL_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long a deploy takes, against a hand-written script (the floor), pyinfra and Ansible, in one run.

    python -m benchmarks.deploy [--hosts 1,16] [--rtt 0,50] [--rounds 3] [--peers pyinfra,ansible] [--quick]
                                [--against CHECKOUT]

The job: 400 files of 20 kB, one manifest with three programs, restart, wait for health, prune. Cases: `cold` (nothing
was ever deployed), `unchanged`, `one file`. Each contender has hosts of its own; rounds are interleaved, so that a
machine whose speed drifts is unfair to all alike; the figures are medians, the ratios are against the floor's median.
`before` is the `deploy` of another checkout, which has its environment already.
Needs root: the hosts are network namespaces with a root file system, sshd and supervisord of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import as_installed
from benchmarks.contenders import CONTENDERS, Before, Contender, Ours, chosen
from benchmarks.wan import Far, distance
from tests.testbed import Kind, TestHost, take_slot

FILES, FILE_BYTES = 400, 20_000
CASES = ("cold", "unchanged", "one file")
Times = dict[tuple[str, str], list[float]]  # (contender, case) -> seconds


def source_tree(folder: Path) -> None:
    """The project: 400 files in 20 folders."""
    for number in range(FILES):
        path = folder / f"part{number % 20:02}" / f"file{number:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES // 2).hex().encode())


@contextlib.contextmanager
def field(names: Sequence[str], count: int, work: Path) -> Iterator[list[Contender]]:
    """The contenders, each with `count` hosts of its own and a copy of the project."""
    slot = take_slot()
    try:
        contenders = []
        for name in names:
            source = work / name / "project"
            source.mkdir(parents=True)
            source_tree(source)
            hosts = [TestHost(Kind.SUPERVISORD, slot) for _ in range(count)]
            contender = CONTENDERS[name](name, hosts, work / name, source)
            contender.arrange()
            contenders.append(contender)
        yield contenders
    finally:
        slot.release()


def measure(contenders: Sequence[Contender], rounds: int) -> Times:
    """Every case of every contender, interleaved."""
    times: Times = defaultdict(list)
    for number in range(rounds):
        for case in CASES:
            for contender in contenders:
                release = f"r{number}" if case != "one file" else f"r{number}b"
                if case == "cold":
                    contender.wipe()
                if case == "one file":
                    (contender.source / "part00" / "file000.txt").write_bytes(
                        os.urandom(FILE_BYTES // 2).hex().encode()
                    )
                began = time.perf_counter()
                contender.run(release)
                times[contender.name, case].append(time.perf_counter() - began)
                if not contender.serves():
                    raise RuntimeError(f"{contender.name} deployed ({case}), and its hosts do not answer")
            print(".", end="", flush=True)
    print()
    return times


def report(title: str, names: Sequence[str], times: Times) -> list[dict[str, object]]:
    """Print medians and ratios; the rows."""
    print(f"\n{title}")
    print(f"  {'':10}" + "".join(f"{case:>24}" for case in CASES))
    rows: list[dict[str, object]] = []
    for name in names:
        cells = []
        for case in CASES:
            median = statistics.median(times[name, case])
            ratio = median / statistics.median(times["script", case])
            cells.append(f"{median:.2f} s  {ratio:.2f} x floor")
            rows.append({"title": title, "contender": name, "case": case, "seconds": times[name, case], "ratio": ratio})
        print(f"  {name:10}" + "".join(f"{cell:>24}" for cell in cells))
    return rows


def round_trips(contender: Ours) -> None:
    """What goes over the line, phase by phase, in an unchanged and a one-file deploy."""
    for case in ("unchanged", "one file"):
        if case == "one file":
            (contender.source / "part00" / "file001.txt").write_bytes(os.urandom(FILE_BYTES // 2).hex().encode())
        output = subprocess.run(
            contender.commands("")[0], cwd=contender.work, capture_output=True, text=True, check=True
        )
        events = [json.loads(line) for line in output.stdout.splitlines()]
        result = next(event for event in events if event["event"] == "result")
        print(f"  round trips, {case}: {result['round_trips']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="1,16", help="numbers of hosts (1,16)")
    parser.add_argument("--rtt", default="0,50", help="round trips in ms (0,50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="pyinfra,ansible", help="besides the script and deploy; may be empty")
    parser.add_argument("--quick", action="store_true", help="one host, 50 ms, no peers but the floor")
    parser.add_argument("--against", type=Path, help="a checkout whose deploy is timed as well")
    parser.add_argument("--json", type=Path, help="write every figure there")
    options = parser.parse_args()
    if options.quick:
        options.hosts, options.rtt, options.peers = "1", "50", ""
    as_installed()
    if options.against:
        as_installed(options.against)
    before = ["before"] if options.against else []
    if options.against:
        Before.program = options.against.resolve() / ".venv" / "bin" / "deploy"
    names = chosen(["deploy", *before, *filter(None, options.peers.split(","))])
    rows: list[dict[str, object]] = []
    for count in map(int, options.hosts.split(",")):
        work = Path(tempfile.mkdtemp(prefix="deploy-bench-"))
        try:
            with field(names, count, work) as contenders:
                for rtt in map(float, options.rtt.split(",")):
                    ends = [
                        Far(host.name, host.address, host.slot.gateway) for item in contenders for host in item.hosts
                    ]
                    with distance(ends, rtt_ms=rtt) if rtt else contextlib.nullcontext():
                        times = measure(contenders, options.rounds)
                        rows += report(f"{count} host(s), {rtt:g} ms round trip", names, times)
                        round_trips(next(item for item in contenders if isinstance(item, Ours)))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

"""Tokens a second of each engine on the same model: the wheel, and the compiled profiles native and portable.

    python -m benchmarks.engines [--size 2b4t] [--rounds 3]

Each serves the model with as many threads as there are cores, and is asked for the same prompt and answer in turn; what
counts is what llama.cpp itself measured (`timings` of its answer). Ratios are to the portable build.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS, TOKENS = 128, 48
_PATIENCE_SECONDS = 120.0


@contextmanager
def served(command: list[str], model: Path) -> Iterator[str]:
    """The URL of a server that has loaded the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(len(os.sched_getaffinity(0)))
    process = subprocess.Popen(
        [*command, "--model", str(model), "--port", str(port), "--threads", threads, "--parallel", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{command[0]} does not serve {model}")
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def asked(url: str) -> tuple[float, float]:
    """Tokens a second: of the prompt, of the answer."""
    body = {"prompt": "the " * WORDS, "n_predict": TOKENS, "ignore_eos": True, "cache_prompt": False, "seed": 1}
    request = urllib.request.Request(f"{url}/completion", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=600) as answer:
        timings = json.load(answer)["timings"]
    return timings["prompt_per_second"], timings["predicted_per_second"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", choices=("demo", "2b4t"), default="demo", help="the model's shape (default: demo)")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    from provision import native
    from provision.native.model import write_demo_model

    with tempfile.TemporaryDirectory(prefix="engines-") as scratch:
        model = Path(scratch) / "model.gguf"
        write_demo_model(model, given.size)
        commands = {"wheel": [sys.executable, "-m", "bitnet.llama_server"]}
        for profile in ("native", "portable"):
            built = native.build(profile, targets=["llama-server"], out=Path(scratch) / profile)
            commands[profile] = [str(built.binaries["llama-server"])]
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                with served(command, model) as url:
                    asked(url)  # the first one warms up
                    results[name].append(asked(url))
    medians = {
        name: [statistics.median(speeds) for speeds in zip(*found, strict=True)] for name, found in results.items()
    }
    print(f"{given.size}, {len(os.sched_getaffinity(0))} threads, load {os.getloadavg()[0]:.1f}")
    for name, speeds in medians.items():
        ratios = [speed / base for speed, base in zip(speeds, medians["portable"], strict=True)]
        print(f"{name:<9} prompt {speeds[0]:>7.1f} ({ratios[0]:.2f})   answer {speeds[1]:>7.1f} ({ratios[1]:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

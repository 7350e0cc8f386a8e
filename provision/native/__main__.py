"""`python -m provision.native`: build, model, profiles; what `deploy native` does, without the rest of the toolkit."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from provision.errors import DeployError
from provision.events import Event
from provision.native import TARGETS, build, profiles

# A build in CI writes a line this often, so that its log shows that it lives and stays short.
_SECONDS_BETWEEN_LINES = 5.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m provision.native", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    builds = verbs.add_parser("build", help="compile binaries into build/bin")
    builds.add_argument("--profile", default="native", help="one of the profiles (default: native)")
    builds.add_argument("--target", action="append", metavar="NAME", help=f"one of {', '.join(TARGETS)}; default: all")
    builds.add_argument(
        "--source", help="a checkout of microsoft/BitNet or llama.cpp, or bitnet[@REVISION] to clone it"
    )
    builds.add_argument("--define", action="append", default=[], metavar="NAME=VALUE", help="a CMake variable")
    builds.add_argument("--toolkit", default="", help="CUDA: pinned, or a folder (default: nvcc's own)")
    builds.add_argument("--jobs", type=int, help="compilers at once (default: what cores and memory allow)")
    builds.add_argument("--out", type=Path, help="where bin/ and build.json go (default: build)")
    builds.add_argument("--json", action="store_true", help="events as JSON lines")

    models = verbs.add_parser("model", help="write the demo model: random weights that prove the path, not the prose")
    models.add_argument("path", type=Path)
    models.add_argument("--size", choices=("demo", "2b4t"), default="demo", help="2b4t: for benchmarks, 1.2 GB")

    verbs.add_parser("profiles", help="list the profiles")
    options = parser.parse_args(arguments)
    if wrong := [item for item in getattr(options, "define", []) if "=" not in item]:
        parser.error(f"--define {wrong[0]}: expected NAME=VALUE")
    try:
        return {"build": _build, "model": _model, "profiles": _profiles}[options.verb](options)
    except DeployError as failure:
        sys.stderr.write(f"{failure}\n")
        return int(failure.exit)


def _build(options: argparse.Namespace) -> int:
    tell = _as_json if options.json else _Lines()
    result = build(
        options.profile,
        targets=options.target or TARGETS,
        source=options.source,
        out=options.out,
        define=dict(item.partition("=")[::2] for item in options.define),
        toolkit=options.toolkit,
        jobs=options.jobs,
        on_event=tell,
    )
    if options.json:
        _as_json({"event": "result", "key": result.key, "compiled": result.compiled, "record": str(result.record)})
    return 0


def _model(options: argparse.Namespace) -> int:
    # numpy and gguf take a quarter of a second to import, which a build should not wait for.
    from provision.native.model import write_demo_model

    facts = write_demo_model(options.path, options.size)
    sys.stdout.write(f"{facts.path}: {facts.name}, {facts.bytes} bytes, sha256 {facts.sha256}\n")
    return 0


def _profiles(_options: argparse.Namespace) -> int:
    for profile in profiles().values():
        sys.stdout.write(f"{profile.name:<9} {profile.summary}\n          {profile.description}\n")
    return 0


def _as_json(event: Event) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class _Lines:
    """Events as lines for people: each message, and progress now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        phase, now = event["phase"], time.monotonic()
        if event["event"] == "message":
            line = f"{phase}: {event['text']}"
        elif event["done"] == event["total"] or now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            line = f"{phase}: {event['done']}/{event['total'] or '?'} {event['unit']}"
        else:
            return
        sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())

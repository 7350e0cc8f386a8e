"""The packages that an image's Python needs: exactly those of requirements.lock, unpacked on this side.

pip checks each wheel against the lock's hashes, so the builder needs neither pip nor a network, nor this network's own
certificate authority, and none of them can be left behind in a layer.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from provision.errors import DeployError, UsageError

# The newest first: a wheel for an older glibc runs too (PEP 600).
_PLATFORMS = {
    "linux/amd64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "linux/arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==[^\s\\]+(?: \\\n\s+--hash=\S+)+", re.MULTILINE)
_OURS = "bitnet-provision"


def packages(lock: Path, python: str, platform: str, cache: Path) -> Path:
    """A folder with what `bitnet` imports, for `python` on `platform`; made once.

    Raises:
        UsageError: the lock file is missing, or lacks a package.
        DeployError: pip could not get one.
    """
    wanted = _locked(lock, runtime_packages())
    key = hashlib.sha256("\0".join(["2", python, platform, *wanted]).encode()).hexdigest()[:24]
    folder = cache / f"python-{key}"
    if not folder.is_dir():
        _install(wanted, folder, python, platform)
    return folder


def runtime_packages() -> list[str]:
    """The names of all that `bitnet` alone needs, from what is installed beside us; sorted."""
    found: set[str] = set()
    pending = [_OURS]
    while pending:
        name = pending.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                other = canonicalize_name(requirement.name)
                if other not in found:
                    found.add(other)
                    pending.append(other)
    return sorted(found)


def _locked(lock: Path, names: Iterable[str]) -> list[str]:
    try:
        entries = {canonicalize_name(entry[1]): entry[0] for entry in _ENTRY.finditer(lock.read_text(encoding="utf-8"))}
        return [entries[canonicalize_name(name)] for name in names]
    except (OSError, KeyError) as error:
        raise UsageError(f"{lock} does not pin {error}.", next_step="make lock") from None


def _install(wanted: list[str], folder: Path, python: str, platform: str) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    requirements = unfinished / "requirements.txt"
    requirements.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    # The names that pip leaves in the folder are the wheel's own; bytecode would hold times.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-compile", "--implementation", "cp"]
    command += ["--python-version", python, *(f"--platform={tag}" for tag in _PLATFORMS[platform])]
    done = subprocess.run(
        [*command, "--target", str(unfinished / "packages"), "-r", str(requirements)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise DeployError("pip could not get the packages of the image.", why="\n".join(said or [done.stderr.strip()]))
    # Programs that pip makes name the interpreter of this machine.
    shutil.rmtree(unfinished / "packages" / "bin", ignore_errors=True)
    (unfinished / "packages").rename(folder)
    shutil.rmtree(unfinished)

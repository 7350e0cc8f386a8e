"""The packages that an image's Python needs: exactly those that a file pins, unpacked on this side.

pip checks each wheel against the file's hashes, so the builder needs neither pip nor a network, nor this network's own
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


def packages(pinned: str, python: str, platform: str, cache: Path) -> Path:
    """A folder with packages for `python` on `platform`; made once.

    Args:
        pinned: lines as pip reads them from a file, each with a version and hashes.

    Raises:
        DeployError: pip could not get one, or one has no hash.
    """
    key = hashlib.sha256("\0".join(["3", python, platform, pinned]).encode()).hexdigest()[:24]
    folder = cache / f"python-{key}"
    if not folder.is_dir():
        _install(pinned, folder, python, platform)
    return folder


def of_file(file: Path) -> str:
    """What it pins.

    Raises:
        UsageError: it is not there.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read.", why=f"{error.strerror}.", next_step=_lock(file, file.with_suffix(".in"))
        ) from None


def of_runtime(lock: Path, extras: Iterable[str] = ()) -> str:
    """What `lock` pins of all that `bitnet` imports, with what its `extras` add.

    Raises:
        UsageError: it is missing, or lacks a package.
    """
    entries = {canonicalize_name(entry[1]): entry[0] for entry in _ENTRY.finditer(of_file(lock))}
    names = [canonicalize_name(name) for name in runtime_packages(extras)]
    if missing := [name for name in names if name not in entries]:
        raise UsageError(f"{lock} does not pin {', '.join(missing)}.", next_step=_lock(lock, Path("pyproject.toml")))
    return "\n".join(entries[name] for name in names) + "\n"


def _lock(file: Path, source: Path) -> str:
    return f"uv pip compile --generate-hashes --output-file {file} {source}"


def runtime_packages(extras: Iterable[str] = ()) -> list[str]:
    """The names of all that `bitnet` alone needs, from what is installed beside us; sorted."""
    wanted, found = ("", *extras), set[str]()
    pending = [_OURS]
    while pending:
        name = pending.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
                other = canonicalize_name(requirement.name)
                if other not in found:
                    found.add(other)
                    pending.append(other)
    return sorted(found)


def _install(pinned: str, folder: Path, python: str, platform: str) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    requirements = unfinished / "requirements.txt"
    requirements.write_text(pinned, encoding="utf-8")
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

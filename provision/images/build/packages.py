"""The packages that an image's Python needs: exactly those that a file pins, unpacked on this side.

pip checks each wheel against the file's hashes, so the builder needs neither pip nor a network, nor this network's own
certificate authority, and none of them can be left behind in a layer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from provision.errors import DeployError, UsageError

# The newest first: a wheel for an older glibc runs too (PEP 600).
_PLATFORMS = {
    "linux/amd64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "linux/arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}


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
        lock = f"uv pip compile --generate-hashes --output-file {file} {file.with_suffix('.in')}"
        raise UsageError(f"{file} cannot be read.", why=f"{error.strerror}.", next_step=lock) from None


def _install(pinned: str, folder: Path, python: str, platform: str) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    requirements = unfinished / "requirements.txt"
    requirements.write_text(pinned, encoding="utf-8")
    # The names that pip leaves in the folder are the wheel's own; bytecode would hold times.
    command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
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

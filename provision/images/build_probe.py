"""images/probe.c, compiled: the one program of ours that asks over HTTP where no shell is."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from provision.errors import DeployError, UsageError

# Static, and without what the linker would add of this machine: its build id.
_FLAGS = ("-std=gnu11", "-Os", "-static", "-s", "-ffunction-sections", "-fdata-sections")
_LINK = ("-Wl,--gc-sections", "-Wl,--build-id=none")


def probe(source: Path, cache: Path) -> Path:
    """The program; compiled once for a source and a compiler.

    Raises:
        UsageError: there is no compiler, or no source.
        DeployError: it does not compile.
    """
    compiler = os.environ.get("CC") or "cc"
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
        content = source.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the probe of the image cannot be compiled: {error.filename} is not there.",
            next_step="scripts/install-packages build",
        ) from None
    key = hashlib.sha256(b"\0".join([content, version, *(flag.encode() for flag in (*_FLAGS, *_LINK))])).hexdigest()
    program = cache / f"probe-{key[:24]}"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        part = program.with_name(f".{program.name}.{os.getpid()}")
        done = subprocess.run(
            [compiler, *_FLAGS, "-o", str(part), str(source), *_LINK], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DeployError(f"{source} does not compile.", why=done.stderr.strip())
        part.replace(program)
    return program

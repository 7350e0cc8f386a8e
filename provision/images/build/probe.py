"""images/probe.c, compiled: the one program of ours that asks over HTTP where no shell is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from provision.errors import DeployError, UsageError
from provision.packages import install
from provision.workbench import Here, Workbench

# Static, and without what the linker would add of this machine: its build id.
_FLAGS = ("-std=gnu11", "-Os", "-static", "-s", "-ffunction-sections", "-fdata-sections")
_LINK = ("-Wl,--gc-sections", "-Wl,--build-id=none")


def probe(source: Path, cache: Path, workbench: Workbench | None = None) -> Path:
    """The program; compiled once for a source and a compiler.

    Args:
        workbench: where the compiler runs; on this machine by default.

    Raises:
        UsageError: there is no compiler, or no source.
        DeployError: it does not compile.
    """
    workbench = workbench or Here()
    compiler = workbench.environment.get("CC") or "cc"
    if not source.is_file():
        raise UsageError(f"the probe of the image cannot be compiled: {source} is not there.")
    if not workbench.which(compiler):
        raise UsageError(
            f"the probe of the image cannot be compiled: {compiler} is not there.", next_step=install(compiler)
        )
    content, version = source.read_bytes(), workbench.ask(compiler, "--version").stdout.encode()
    packages = repr(sorted(workbench.packages.items())).encode() if workbench.packages else b""
    said = [content, version, *(flag.encode() for flag in (*_FLAGS, *_LINK)), *([packages] if packages else [])]
    program = cache / f"probe-{hashlib.sha256(bytes(1).join(said)).hexdigest()[:24]}"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        # Both in the cache, which is all that another workbench sees of this machine.
        part, copy = (program.with_name(f".{program.name}.{os.getpid()}{end}") for end in ("", ".c"))
        copy.write_bytes(content)
        done = workbench.ask(compiler, *_FLAGS, "-o", str(part), str(copy), *_LINK)
        copy.unlink()
        if done.returncode:
            raise DeployError(f"{source} does not compile.", why=done.stderr.strip())
        part.replace(program)
    return program

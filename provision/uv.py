"""uv, which resolves and installs Python packages: one pinned version, here and on hosts.

It comes as the wheel that the package index has of it, by content: whatever is called uv on a PATH is never run. The
wheel for hosts is linked with nothing of theirs, so it runs on each Linux; uv.json has them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from provision import pinned
from provision.caches import caches
from provision.contract.release import PinnedWheel
from provision.errors import DeployError
from provision.events import OnEvent

_LAST = 12  # lines of what it says that are told
_SECONDS = 3600.0  # a slow line, and packages of gigabytes
_LEAST_SECRET = 8  # characters; a shorter value, such as "0", would be taken out of any line
_unpacking = threading.Lock()


def wheels() -> dict[str, PinnedWheel]:
    """The wheel for each kind of host, as uname(2) calls it."""
    return {machine: _pin("hosts", machine) for machine in pinned.pinned("uv")["hosts"]}


def wheel(machine: str, on_event: OnEvent) -> Path:
    """The wheel for a host, on this machine: from the cache, else from the index that pip is configured for.

    Raises:
        DeployError: it could not be had.
    """
    return pinned.wheel("uv", _pin("hosts", machine), on_event)


def run(words: Sequence[str], folder: Path, variables: Mapping[str, str], what: str, on_event: OnEvent) -> None:
    """Run uv in `folder`.

    Args:
        variables: for its environment, besides this process's.
        what: a sentence of what failed, if it does.

    Raises:
        DeployError: it failed; says the last lines that it wrote.
    """
    environ = {"UV_SYSTEM_CERTS": "true", "UV_NO_PROGRESS": "true", **os.environ, **variables}
    ran = ended([str(_program(on_event)), *words], folder, environ, what)
    if ran.returncode:
        said = ran.stderr
        for name, value in variables.items():
            said = said.replace(value, f"<{name}>") if len(value) >= _LEAST_SECRET else said
        raise DeployError(what, why="\n".join(said.strip().splitlines()[-_LAST:]), next_step="mend that, and try again")


def ended(
    words: Sequence[str], folder: Path | None, environ: Mapping[str, str], what: str
) -> subprocess.CompletedProcess[str]:
    """What became of a program that fetches packages: an index may send a byte now and then.

    Raises:
        DeployError: it did not end.
    """
    try:
        return subprocess.run(
            words,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeployError(
            what,
            why=f"{Path(words[0]).name} did not end in {_SECONDS / 60:.0f} minutes.",
            next_step="see what answers at the index, and try again",
        ) from None


def _pin(system: str, machine: str) -> PinnedWheel:
    return pinned.pin("uv", machine, 'source = "host" in [python]', system=system)


def _program(on_event: OnEvent) -> Path:
    """uv for this machine, out of its wheel."""
    pin = _pin("macos" if sys.platform == "darwin" else "hosts", platform.machine())
    program = caches() / "uv" / pin["sha256"] / "uv"
    if not program.exists():
        with zipfile.ZipFile(pinned.wheel("uv", pin, on_event)) as archive, _unpacking:
            program.parent.mkdir(parents=True, exist_ok=True)
            part = program.with_suffix(".new")
            member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            with archive.open(member) as packed, part.open("wb") as file:
                shutil.copyfileobj(packed, file)
            part.chmod(0o755)
            part.replace(program)
    return program

"""What an image lacks of what a deploy needs, sent there by content: supervisord and rsync, from this machine.

supervisord is Python's alone and comes with this toolkit. rsync is this machine's own, with the libraries that it is
linked with and the loader that finds them: so it runs in any Linux image, but for the same kind of processor alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.agent.alone import program
from provision.errors import DeployError
from provision.hosts import HostConnection

_SECONDS = 300.0
_LIBRARY = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_PYTHON = """\
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
exec {python} -I -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = "{name}"
from supervisor.{name} import main; main()' "$here" "$@"
"""
_LOADED = """\
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$here/lib/{loader}" --library-path "$here/lib" "$here/lib/{name}" "$@"
"""


class CantBeSupplied(DeployError):
    """The image lacks something that can't be sent there from this machine."""


@dataclass(frozen=True)
class Supply:
    """A tool for machines that lack it: its programs, and a tar with them and all that they need."""

    programs: tuple[str, ...]
    content: bytes


def supply(connection: HostConnection, tool: str, python: str, machine: str) -> None:
    """Bring a tool to a host that is logged in to as root.

    Args:
        python: the Python there.
        machine: its kind of processor, as `uname -m` names it.

    Raises:
        CantBeSupplied: it can't be had here, or would not run there.
        DeployError: the host does not take it.
    """
    made = _MADE[tool](python, machine)
    digest = hashlib.sha256(made.content).hexdigest()
    text = program("alone/supply", "trust", call="sys.exit(main(*sys.argv[1:]))")
    argv = [python, "-I", "-c", text, f"{tool}-{digest[:16]}", digest, *made.programs]
    done = connection.run(argv, input=made.content, timeout=_SECONDS)
    if done.rc:
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise DeployError(f"{tool} could not be put there.", why=said[-1] if said else "", host=connection.name)


def _supervisord(python: str, _: str) -> Supply:
    found = importlib.util.find_spec("supervisor")
    assert found and found.submodule_search_locations  # noqa: S101  (it is a dependency of this toolkit)
    root = Path(found.submodule_search_locations[0])
    files = {
        f"supervisor/{path.relative_to(root)}": path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not {"tests", "__pycache__"} & set(path.relative_to(root).parts)
    }
    programs = ("supervisord", "supervisorctl")
    scripts = {f"bin/{name}": _PYTHON.format(python=shlex.quote(python), name=name).encode() for name in programs}
    return Supply(programs, _packed(files, scripts))


def _rsync(_: str, machine: str) -> Supply:
    own = shutil.which("rsync")
    if sys.platform != "linux" or platform.machine() != machine or not own:
        raise CantBeSupplied(
            "the image has no rsync, and this machine has none for it.",
            why=f"This is {platform.system()} on {platform.machine()}, and that is Linux on {machine}.",
            next_step="set an image in needs that has rsync",
        )
    linked = subprocess.run(["ldd", own], capture_output=True, text=True, timeout=10, check=False)
    libraries = [Path(each) for each in _LIBRARY.findall(linked.stdout)]
    loader = next((each.name for each in libraries if each.name.startswith("ld-linux")), "")
    if linked.returncode or not loader:
        raise CantBeSupplied(
            "the image has no rsync, and what this machine's own is linked with can't be told.",
            why=linked.stderr.strip()[-200:],
            next_step="set an image in needs that has rsync",
        )
    programs = {f"lib/{each.name}": each.read_bytes() for each in libraries}
    programs["lib/rsync"] = Path(own).read_bytes()
    programs["bin/rsync"] = _LOADED.format(loader=loader, name="rsync").encode()
    return Supply(("rsync",), _packed({}, programs))


_MADE: Mapping[str, Callable[[str, str], Supply]] = {"supervisord": _supervisord, "rsync": _rsync}


def _packed(files: Mapping[str, bytes], programs: Mapping[str, bytes]) -> bytes:
    """A tar that is the same whenever it is made of the same."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted({**files, **programs}.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name in programs else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()

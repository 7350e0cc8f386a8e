"""Whether what a service begins with can be imported, before anything of it is started."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Dict

from ..contract.failure import FAILED, Failure
from ..contract.layout import Layout
from ..contract.names import ENVIRONMENT
from . import commands, trust, venv
from .launch import owner

if TYPE_CHECKING:
    from ..contract.release import ServiceDocument

# Becomes the service's account before anything of that account's is run.
_AS = """import os, pwd, sys
found = pwd.getpwnam(sys.argv[1])
os.initgroups(found.pw_name, found.pw_gid)
os.setgid(found.pw_gid)
os.setuid(found.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""
_SECONDS = 120.0  # a first import of gigabytes; what takes longer says nothing


def check(layout: Layout, release: str, service: ServiceDocument) -> None:
    """Import it in the release, as its account.

    Raises:
        Failure: a module is missing; which.
    """
    entry = service.get("entry")
    if entry is None:
        return
    folder = layout.release(release)
    env = dict(venv.on_path(folder, {**os.environ, **entry.get("env", {})}) or {})
    python = _python(folder, entry["python"], entry["name"], env)
    account = service.get("user", "") if owner(service.get("user", "")) is not None else ""
    if not python or (not account and trust.fault(os.path.realpath(python))):
        return
    imported = importlib.util.find_spec(f"{__package__}.imported")  # its text alone: it runs on another Python
    source = str(imported.loader.get_source(imported.name))  # type: ignore[union-attr]
    words = [python, "-c", source, entry["kind"], entry["name"]]
    if account:
        words = [sys.executable, "-I", "-c", _AS, account, *words]
    try:
        ended = commands.run(words, _SECONDS, cwd=folder, env=env)
    except OSError:
        return  # the service itself says so
    for line in ended.output.decode("utf-8", "replace").splitlines():
        said = _imported(line)
        if said:
            in_environment = os.path.exists(os.path.join(folder, ENVIRONMENT))
            where = "the environment of the release" if in_environment else f"the host's {python}"
            raise Failure(
                FAILED,
                f"{service['name']} can't start: {said['why']}, in {where}.",
                why=f"It was imported as {service['name']} would, before anything was disturbed.",
                next_step="add it to what [python] is made from" if in_environment else "install it on the host",
            )


def _imported(line: str) -> Dict[str, str]:
    try:
        return dict(json.loads(line)["imported"] or {}) if line.startswith('{"imported"') else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _python(folder: str, named: str, program: str, env: Dict[str, str]) -> str:
    """The Python that the command runs on: named there, or the one of the script that it starts."""
    if named:
        return named if "/" in named else shutil.which(named, path=env["PATH"]) or ""
    own = os.path.join(os.path.realpath(folder), ENVIRONMENT, "bin", "python")
    if os.path.exists(own):
        return own
    script = shutil.which(program, path=env["PATH"])
    try:
        with open(script or "", "rb") as stream:
            first = stream.read(256).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""
    return first[2:].strip() if first.startswith("#!/") and "python" in first and " " not in first[2:].strip() else ""

"""What the examples' containers are made of, for who runs them: packages of a Python, and what a stack has besides."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from provision.events import ignore
from provision.native.model import write_demo_model
from provision.project.python import Python
from provision.release import lock
from provision.release.wheels import collected
from tests.binaries import llama_server

EXAMPLES = Path(__file__).parents[2] / "examples"


def packages(told: str, names: list[str], folder: Path) -> str:
    """What a Python needs for `names`, with all that these need, in `folder`; what that Python is called.

    Args:
        told: what `tests.deploy.newcomer.PROBE` says of it.
    """
    (folder / "requirements.txt").write_text("\n".join(names))
    machine, libc, version = json.loads(told)
    python = Python(requirements=("requirements.txt",), version=version.rpartition(".")[0])
    lock.renew(python, folder, {}, ignore)
    found = {"event": "result", "machine": machine, "libc": libc, "version": version}
    for wheel in collected(lock.read(python, folder).requirements, found, {}):  # type: ignore[arg-type]
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder / "packages")
    (folder / "scripts").mkdir()
    for each in metadata.distributions(path=[str(folder / "packages")]):
        for script in each.entry_points.select(group="console_scripts"):
            text = f"#!/app/.venv/bin/python\nfrom {script.module} import {script.attr}\n{script.attr}()\n"
            (folder / "scripts" / script.name).write_text(text)
            (folder / "scripts" / script.name).chmod(0o755)
    return f"python{python.version}"


def put_stack_together(context: Path) -> None:
    """What the example of a rented machine has besides Python: llama-server with a small model, Temporal, a store."""
    shutil.copytree(EXAMPLES / "vast-stack" / "src", context / "src")
    (context / "build" / "bin").mkdir(parents=True)
    shutil.copy(llama_server(context / "native"), context / "build" / "bin")
    write_demo_model(context / "models" / "model.gguf")
    (context / "bin").mkdir()
    for program in ("temporal", "weed"):
        shutil.copy(Path(sys.executable).with_name(program), context / "bin")

"""A newcomer's first minutes: the README's first two commands, as it has them, each as often as it is typed."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fresh.machine import Line, Machine, Transcript
from tests.testbed import TestHost
from tests.testbed.rootfs import PYTHON as RENTED_PYTHON

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENVIRONMENT = re.compile(r"`(\. \.venv/bin/activate)`")
_MODEL = re.compile(r"`(deploy native model) FILE`")
_MODEL_PLACE = re.compile(r"`(\S+\.gguf)`")
_TRUST = re.compile(r"next: .*?(python deploy_vast\.py --\w+)")


@dataclass(frozen=True)
class Visit:
    """What was said, in order."""

    demos: list[Transcript]
    refused: Transcript
    deployed: Transcript
    was_installed: bool  # when the first line came

    @property
    def all(self) -> list[Transcript]:
        return [*self.demos, self.refused, self.deployed]


def visit(machine: Machine, rented: TestHost, tell: Callable[[object], None] = lambda text: None) -> Visit:
    """Do as the README says on `machine`, with `rented` as the instance at Vast.ai; `tell` gets all that is seen."""
    readme = machine.at("README.md").read_text()
    (demo,), (fill_in, deploy) = (block.splitlines() for block in _BLOCK.findall(readme)[:2])
    environment = _ENVIRONMENT.search(readme)
    assert environment is not None, "the README does not say which environment its second command runs in"
    installed: list[bool] = []

    def see(line: Line) -> None:
        if not installed:
            installed.append(machine.at(".venv/bin/deploy").exists())
        tell(line)

    def type_in(command: str) -> Transcript:
        tell(f"$ {command}")
        return machine.run(command, tell=see)

    demos = [type_in(demo), type_in(demo)]
    _bring_packages(rented)
    model, where = _MODEL.search(readme), _MODEL_PLACE.search(readme)
    assert model is not None and where is not None, "the README does not say where a model comes from, or goes to"
    made = type_in(f"{environment[1]} && {model[1]} {where[1]}")
    assert made.status == 0, made.text
    copied = type_in(fill_in)
    assert copied.status == 0, copied.text
    env = machine.at(".env").read_text()
    for name, value in {"VAST_HOST": rented.address, "VAST_PORT": str(rented.port)}.items():
        env = env.replace(f"{name}=\n", f"{name}={value}\n")
    machine.write(".env", env.encode())
    refused = type_in(f"{environment[1]} && {deploy}")
    next_step = _TRUST.search(refused.text)
    assert next_step is not None, refused.text
    return Visit(demos, refused, type_in(f"{environment[1]} && {next_step[1]}"), installed[0])


def _bring_packages(rented: TestHost) -> None:
    """What a rented image brings. The host reaches no index: it gets what these tests run with."""
    uv = [Path(sys.executable).with_name("uv"), "pip"]
    into = f"/proc/{rented.init}/root/usr/local/lib/python{RENTED_PYTHON}/dist-packages"
    with tempfile.NamedTemporaryFile() as versions:
        frozen = [*uv, "freeze", "--quiet", "--exclude-editable", "--python", sys.executable]
        subprocess.run(frozen, stdout=versions, check=True)
        options = ["--quiet", "--target", into, "--python-version", RENTED_PYTHON, "--constraint", versions.name]
        subprocess.run([*uv, "install", *options, "fastapi", "uvicorn"], check=True)

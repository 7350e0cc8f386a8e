"""What is taken from paramiko beyond its public face is there as it was when that was written.

A version that changes one of these says so here. Then look whether the reason, which stands beside our part, is gone.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from provision.hosts.ssh_library import paramiko

_KNOWN: dict[str, tuple[Any, str]] = {
    "send_auth_request": (paramiko.auth_handler.AuthOnlyHandler, "3819c2d2"),
    "ensure_session": (paramiko.transport.ServiceRequestingTransport, "ef6fe7a1"),
    "open_channel": (paramiko.Transport, "1be0f8a3"),
    "shutdown": (paramiko.Channel, "4b00759e"),
    "_send": (paramiko.Channel, "6bce61c3"),
    "_close_internal": (paramiko.Channel, "83b48e84"),
    "_handle_close": (paramiko.Channel, "9d1020e5"),
}


def _mark(function: Callable[..., Any]) -> str:
    """Changes with what a function does, and with neither its comments nor its layout."""
    source = re.sub(r"#.*", "", inspect.getsource(function))
    return hashlib.sha256("".join(source.split()).encode()).hexdigest()[:8]


@pytest.mark.parametrize("name", _KNOWN)
def test_what_is_overridden_is_as_it_was(name: str) -> None:
    owner, mark = _KNOWN[name]
    assert _mark(getattr(owner, name)) == mark


def test_only_versions_that_were_looked_at_may_be_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = map(Requirement, project["optional-dependencies"]["deploy"])
    (ranges,) = [requirement.specifier for requirement in needed if requirement.name == "paramiko"]
    assert ranges == SpecifierSet(">=3.5,<6")


def _said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_invoke_is_left_out_of_the_import() -> None:
    said = _said(
        "import sys; from provision.hosts.ssh_library import paramiko;"
        "print([name in sys.modules for name in ('invoke', 'asyncio', 'unittest.mock')], paramiko.config.invoke);"
        "import fabric, invoke; print('invoke' in sys.modules)"
    )
    assert said.splitlines() == ["[False, False, False] None", "True"]


def test_who_has_invoke_already_keeps_it() -> None:
    said = _said(
        "import sys, invoke; from provision.hosts.ssh_library import paramiko;"
        "print(sys.modules['invoke'] is invoke, paramiko.config.invoke is invoke)"
    )
    assert said == "True True"

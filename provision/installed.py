"""How this toolkit came onto this machine, and the commands that change that.

uv and pipx leave a note in the environment that they make for a tool: `uv-receipt.toml`, `pipx_metadata.json`. Where an
installer was given a file, a folder or a repository instead of a name, it writes which (PEP 610, direct_url.json).
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = "bitnet-provision"
_TOOLKIT = f"{_PACKAGE}[deploy]"  # the on-host runtime alone has no extra


@dataclass(frozen=True)
class Installed:
    """How it is installed here.

    Attributes:
        by: `uv` or `pipx`, as a tool; `pip` for any other environment.
        url: where from, if not by its name.
        file: it came as one file, so that there is nothing to ask for a newer one.
        checkout: the git checkout that it runs from.
    """

    by: str
    url: str = ""
    file: bool = False
    checkout: Path | None = None

    def add_toolkit(self) -> str:
        """The command that adds what `deploy` needs to an on-host runtime."""
        return shlex.join([*self._again(), f"{_TOOLKIT} @ {self.url}" if self.url else _TOOLKIT])

    def update(self) -> str:
        """The command that brings a newer version."""
        if self.checkout:
            environment = self.checkout / ".venv"
            pull = shlex.join(["git", "-C", str(self.checkout), "pull"])
            used = Path(sys.prefix) == environment
            return f"{pull} && {shlex.join(['make', '-C', str(self.checkout), 'venv'])}" if used else pull
        if self.file:
            return (
                f"with the wheel of a newer release: {shlex.join(self._again())} '{_TOOLKIT} @ file:///PATH/TO/WHEEL'"
            )
        if self.by == "pip":
            return shlex.join([sys.executable, "-m", "pip", "install", "--upgrade", _TOOLKIT])
        return shlex.join([*_TOOLS[self.by], "upgrade", _PACKAGE])

    def _again(self) -> list[str]:
        if self.by == "pip":
            return [sys.executable, "-m", "pip", "install"]
        return [*_TOOLS[self.by], "install", "--force"]


_TOOLS = {"uv": ("uv", "tool"), "pipx": ("pipx",)}


@cache
def installed() -> Installed:
    """Look at the environment that runs this."""
    prefix = Path(sys.prefix)
    notes = {"uv": prefix / "uv-receipt.toml", "pipx": prefix / "pipx_metadata.json"}
    by = next((tool for tool, note in notes.items() if note.exists()), "pip")
    top = Path(__file__).parents[1]
    origin = _origin()
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        wanted = origin["vcs_info"].get("requested_revision")
        url = f"{origin['vcs_info']['vcs']}+{url}" + (f"@{wanted}" if wanted else "")
    return Installed(by, url, "archive_info" in origin, top if (top / ".git").exists() else None)


def _origin() -> dict[str, dict[str, str]]:
    try:
        text = importlib.metadata.distribution(_PACKAGE).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, dict[str, str]] = json.loads(text) if text else {}
    return found

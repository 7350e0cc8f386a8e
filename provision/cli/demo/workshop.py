"""Where the demo happens: a project in a folder of its own, with ports that are free here."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provision.caches import demand_writable
from provision.errors import Refused, UsageError
from provision.project.units import PLACE
from provision.targets import sandbox

_TEMPLATE = Path(__file__).parent / "project"
# With 10000, 20000 and 30000 added for the programs behind it, all stay below the ports that Linux hands out by itself.
_FIRST_PORT, _LAST_PORT = 2_000, 2_700
_OFFSETS = (0, 10_000, 20_000, 30_000)
_TRIES = 200


def folder() -> Path:
    """The demo's folder; one for each user."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "bitnet-provision" / "demo"


@dataclass(frozen=True)
class Workshop:
    """The demo's project on disk."""

    root: Path
    llama_port: int
    web_port: int

    @property
    def model(self) -> Path:
        return self.root / "models" / "demo.gguf"

    def change(self, before: str, after: str) -> None:
        """Edit the web service, as a developer would."""
        source = self.root / "web.py"
        text = source.read_text()
        if before not in text:
            raise ValueError(f"{before!r} is not in {source}")
        source.write_text(text.replace(before, after))

    def stand_alone(self) -> None:
        """Let programs have the declared ports themselves."""
        declaration = self.root / "deploy.toml"
        declaration.write_text(
            declaration.read_text().replace("[targets.sandbox.traffic]", "# [targets.sandbox.traffic]")
        )


def make(root: Path, engine: str) -> Workshop:
    """A fresh demo project in `root`, whose model `engine` serves."""
    shutil.copytree(_TEMPLATE, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    declaration = root / "deploy.toml"
    declaration.write_text(declaration.read_text().replace('engine = "wheel"', f'engine = "{engine}"'))
    llama_port, web_port = _free_ports(2)
    variables = {"LLAMA_PORT": llama_port, "WEB_PORT": web_port, "DEMO_PATH": _target_path(root)}
    (root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
    return Workshop(root, llama_port, web_port)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """No other demo of this user runs meanwhile.

    Raises:
        Refused: one does, or nothing can be written there.
    """
    demand_writable(root.parent, "XDG_STATE_HOME=/some/folder deploy demo")
    with (root.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another demo is running.", next_step="wait until it ends") from None
        yield


def clear(root: Path) -> bool:
    """End a demo that was kept, and remove its files; False where there was none."""
    if not root.exists():
        return False
    sandbox.stop(root)
    place = _place(root)
    if place.is_symlink() and place.exists():
        _remove(place.readlink())
    _remove(root)
    return True


def _target_path(root: Path) -> Path:
    """Where the demo is deployed to: in `root`, unless a character of its path is none that a target's may have.

    Then it is a folder among the system's temporary ones, which a link in `root` remembers.
    """
    place = _place(root)
    if re.fullmatch(PLACE, str(place)):
        return place
    fit = (path for path in (tempfile.gettempdir(), "/tmp") if re.fullmatch(PLACE, path))  # noqa: S108  (mkdtemp below)
    elsewhere = Path(tempfile.mkdtemp(prefix="deploy-demo-", dir=next(fit)))
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.symlink_to(elsewhere)
    return elsewhere


def _place(root: Path) -> Path:
    return root / ".deploy" / "place"


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # releases are read-only
    shutil.rmtree(folder)


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for _ in range(_TRIES):
        port = random.randint(_FIRST_PORT, _LAST_PORT)  # noqa: S311  (no secret)
        if port not in found and all(_is_free(port + offset) for offset in _OFFSETS):
            found.append(port)
        if len(found) == count:
            return found
    raise UsageError("no free ports for the demo.", why=f"Looked between {_FIRST_PORT} and {_LAST_PORT}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

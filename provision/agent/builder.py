"""Makes an environment with uv, at the place where it stays: no script in it names a folder that goes."""

from __future__ import annotations

import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Callable, Dict, List

from ..contract import tree
from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from . import commands, files, layers, told, trust
from .environments import COMPLETE, is_whole
from .locks import Lock
from .models import verify
from .preflight import DISK_RESERVE
from .takeover import take_over
from .venv import SYSTEM

if TYPE_CHECKING:
    from ..contract.answers import Present, PythonFound
    from ..contract.bringing import BuildEnvironment
    from ..contract.events import Emit

_CACHE = ".cache"
_NOWHERE = "/"  # uv takes settings, and a Python, out of each folder above the one that it runs in; /tmp may be one
_SECONDS = 3600.0  # a slow line, and packages of gigabytes
_ASK_SECONDS = 60.0
_LOCK_SECONDS = 15.0
_LARGEST_UV = 1 << 30
_OTHERS = ("VIRTUAL_ENV", "CONDA_PREFIX")  # environments of the login's, whose Pythons uv would take
_NEXT = {
    "venv": "install that Python on the host, or name one that it has: version in [python]",
    "pip": 'mend that; where this host has no package index: wheels = "ship" in [python]',
}
_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Builder:
    """Makes one environment; of one that fails nothing stays."""

    def __init__(self, layout: Layout, request: BuildEnvironment, emit: Emit, stop: Callable[[], None]) -> None:
        self.layout = layout
        self.request = request
        self.emit = emit
        self.stop = stop
        # As of the prepare step: what was cut off and still runs writes into nothing that comes after.
        self.lock = Lock(os.path.join(layout.private, "prepare"))

    def python(self) -> PythonFound:
        """The Python that it will have, and what runs here: for who collects its wheels.

        Raises:
            Failure: there is none.
        """
        uv = self._uv()
        demanded = self.request["environment"]["python"]
        words = ["python", "find", "--no-project", "--no-python-downloads", demanded]
        found = commands.ask([uv, *words], _ASK_SECONDS, apart=True, cwd=_NOWHERE, env=self._environ())
        path = found.output.decode("utf-8", "replace").strip()
        if found.status != 0:
            raise Failure(
                REFUSED,
                f"this host has no Python {demanded}, and its packages are shipped because it has no index.",
                next_step="install one there, or name one that it has: version in [python]",
            )
        self._demand_trust(path)
        version = commands.ask([path, "-I", "-c", _VERSION], _ASK_SECONDS).output.decode("utf-8", "replace").strip()
        libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
        return {"event": "result", "machine": os.uname().machine, "libc": libc or "", "version": version}

    def build(self) -> Present:
        """Make what is missing of it.

        Raises:
            Failure: uv could not; its last lines are in it.
        """
        environment = self.request["environment"]
        there = is_whole(self.layout, environment["id"])
        if not self.lock.take({"doing": "environment"}, _LOCK_SECONDS):
            raise Failure(REFUSED, "an earlier environment is still being made.", next_step="deploy up again")
        try:
            if not there:
                self._make(environment["id"], self._install)
            layer = environment.get("layer")
            if layer is not None and not (there and is_whole(self.layout, layer["id"])):
                base, own = self.layout.environment(environment["id"]), layer
                self._make(layer["id"], lambda folder: layers.lay(base, folder, own))
        finally:
            self.lock.release()
        return {"event": "result", "present": there}

    def _make(self, id_: str, fill: Callable[[str], None]) -> None:
        folder = self.layout.environment(id_)
        files.remove_tree(folder)
        try:
            fill(folder)
            _close(folder)
            files.sync_filesystem(folder)  # what comes last says that all of it is there, also after a power cut
            files.write(os.path.join(folder, COMPLETE), "", 0o444)
        except BaseException:
            files.remove_tree(folder)
            room = os.statvfs(self.layout.environments)
            if room.f_bavail * room.f_frsize < DISK_RESERVE:  # what runs there needs it
                files.remove_tree(os.path.join(self.layout.environments, _CACHE))
            raise
        os.chmod(folder, 0o555)

    def _install(self, folder: str) -> None:
        uv, request = self._uv(), self.request
        cache = os.path.join(self.layout.environments, _CACHE)
        files.make_folder(cache)
        os.utime(cache)  # it goes by age
        self._run([uv, "venv", "--no-project", "--quiet", "--python", request["environment"]["python"], folder])
        self._demand_trust(os.path.join(folder, "bin", "python"))
        lock = os.path.join(folder, "deploy.lock")
        files.write(lock, request["lock"])
        offline: List[str] = []
        if request["shipped"]:
            take_over(self.layout.incoming_wheels)  # nobody writes there while uv reads
            offline = ["--no-index", "--find-links", self.layout.incoming_wheels]
        exactly = ["--require-hashes", "--compile-bytecode", "--allow-empty-requirements"]
        self._run([uv, "pip", "sync", "--python", os.path.join(folder, "bin/python"), *exactly, *offline, lock])

    def _run(self, words: List[str]) -> None:
        what = " ".join(["uv", *words[1 : 2 if words[1] == "venv" else 3]])
        doing = told.Doing("environment", what, _SECONDS, what, _NEXT[words[1]])
        secrets = {name: self.request["variables"][name] for name in self.request["secrets"]}
        told.run(doing, words, _NOWHERE, self._environ(), secrets, self.emit, self.stop, self.lock)

    def _environ(self) -> Dict[str, str]:
        """Folders that others may write to are on no PATH of uv's, which starts each Python that it finds."""
        ours = [
            path for path in os.environ.get("PATH", "").split(":") if path.startswith("/") and not trust.fault(path)
        ]
        settings = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "uv")
        inherited = {name: value for name, value in os.environ.items() if name not in _OTHERS}
        return {
            **inherited,
            **({"UV_SYSTEM_CERTS": "true"} if any(map(os.path.exists, _CERTIFICATES)) else {}),
            **({"UV_NO_CONFIG": "true"} if trust.fault(settings) else {}),  # the login's, where sudo keeps HOME
            "UV_NO_PROGRESS": "true",
            "UV_CACHE_DIR": os.path.join(self.layout.environments, _CACHE),
            "UV_PYTHON_INSTALL_DIR": self.layout.pythons,
            # First those that every account can run.
            "PATH": ":".join(dict.fromkeys([*SYSTEM.split(":"), *ours])),
            **self.request["variables"],
        }

    def _demand_trust(self, python: str) -> None:
        fault = trust.fault(os.path.realpath(python))
        if fault:
            raise Failure(
                REFUSED,
                f"the Python that was found can't be trusted: {fault}.",
                next_step=f"by hand: {fault.remedy}" if fault.remedy else "name another: version in [python]",
            )

    def _uv(self) -> str:
        """The uv that was shipped, by content."""
        pin = self.request["uv"][os.uname().machine]
        folder = self.layout.uv(pin["sha256"])
        program = os.path.join(folder, "uv")
        if not os.path.exists(os.path.join(folder, COMPLETE)):
            files.remove_tree(folder)
            files.make_folder(folder)
            take_over(self.layout.incoming_wheels)
            wheel = shutil.copyfile(
                os.path.join(self.layout.incoming_wheels, pin["file"]), os.path.join(folder, "wheel")
            )
            verify(wheel, pin["sha256"], "uv", lambda _: None)  # small, and told of when it arrived
            _unpack(wheel, program)
            os.unlink(wheel)
            files.sync_filesystem(folder)
            files.write(os.path.join(folder, COMPLETE), "", 0o444)
        os.utime(folder)  # it goes by age
        return program


def _unpack(wheel: str, to: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        member = next(each for each in archive.infolist() if each.filename.endswith(".data/scripts/uv"))
        if member.file_size > _LARGEST_UV:
            raise Failure(FAILED, f"{member.filename} is larger than any uv.")
        with archive.open(member) as packed, open(to, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    os.chmod(to, 0o555)


def _close(folder: str) -> None:
    """Make all of it read-only; the folder itself when it is whole."""
    for parent, folders, others in tree.walk(folder):
        for name in [*folders, *others]:
            path = os.path.join(folder, parent, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o555)

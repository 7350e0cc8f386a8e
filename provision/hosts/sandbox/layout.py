"""The files of a sandbox: keys, home, programs, and the configuration of its SSH server."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from provision.hosts.sandbox.processes import MARKER

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Server(Enum):
    """Which SSH server a sandbox runs."""

    SSHD = "sshd"
    PARAMIKO = "paramiko"


@dataclass(frozen=True)
class KeeperSetup:
    """What the keeper needs to know."""

    environment: dict[str, str]
    host_key: str  # as a known_hosts line ends


def sshd_path() -> Path | None:
    """The sshd program of this machine; /usr/sbin is not on every user's PATH."""
    found = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM_PATH)))
    return Path(found).absolute() if found else None


def make(root: Path, marker: str, path: Sequence[Path], server: Server | None, settings: Sequence[str]) -> KeeperSetup:
    """Write the files of the sandbox in `root` and tell the environment of its keeper."""
    server = server or (Server.SSHD if sshd_path() else Server.PARAMIKO)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in ("ssh", "home", "bin", "run"):
        (root / folder).mkdir(mode=0o700, exist_ok=True)
    (root / "port").unlink(missing_ok=True)
    host_key = _key(root / "ssh" / "host_key")
    (root / "ssh" / "authorized_keys").write_text(f"{_key(root / 'ssh' / 'user_key')}\n")
    _programs(root / "bin")
    environment = {
        "HOME": str(root / "home"),
        "PATH": os.pathsep.join([*map(str, path), str(root / "bin"), os.environ.get("PATH", ""), _SYSTEM_PATH]),
        # What a host has for all projects lies in the sandbox, too; the machine's own supervisord is not touched.
        "DEPLOY_STATE_DIR": str(root / "state"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108  # the usual default, not a file of ours
        MARKER: marker,
        "DEPLOY_SANDBOX_SERVER": server.value,
    }
    _entry(root, environment)
    if server is Server.SSHD:
        _sshd_config(root, settings)
    return KeeperSetup(environment, host_key)


def _key(path: Path) -> str:
    """The public half, as `type base64`, of the key in `path`; made where there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        path.touch(mode=0o600)
        path.write_bytes(text)
    loaded = serialization.load_ssh_private_key(path.read_bytes(), None)
    public = loaded.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def _programs(folder: Path) -> None:
    """supervisord as installed beside this program, and a python3 for a machine that has none on its PATH."""
    python = shlex.quote(sys.executable)
    programs = {
        "supervisord": f"exec {python} -m supervisor.supervisord",
        "supervisorctl": f"exec {python} -m supervisor.supervisorctl",
    }
    if shutil.which("python3", path=_SYSTEM_PATH) is None:
        programs["python3"] = f"exec {python}"
    for name, command in programs.items():
        file = folder / name
        file.write_text(f'#!/bin/sh\n{command} "$@"\n')
        file.chmod(0o700)


def _entry(root: Path, environment: dict[str, str]) -> None:
    """What every login runs: the sandbox's home and environment in place of the user's own."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    (root / "entry").write_text(
        f"{exports}unset PYTHONPATH\n"
        'cd "$HOME" || exit 1\n'
        'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"; fi\n'
        "exec /bin/sh -i\n"
    )


def _sshd_config(root: Path, settings: Sequence[str]) -> None:
    """sshd_config(5). No PAM and no strict modes: an unprivileged sshd could satisfy neither.

    HOME is set here, too, because a login shell that sshd starts may read start-up files from it.
    """
    ssh = root / "ssh"
    (ssh / "sshd_config").write_text(
        "".join(f"{line}\n" for line in settings)  # of several values for a setting, sshd takes the first
        + f"""\
HostKey {_quoted(ssh / "host_key")}
AuthorizedKeysFile {_quoted(ssh / "authorized_keys")}
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
PrintMotd no
PrintLastLog no
AllowAgentForwarding no
X11Forwarding no
MaxStartups 100
{_unpunished()}\
SetEnv {_quoted_setting("HOME", root / "home")}
ForceCommand exec /bin/sh {_quoted(root / "entry")}
"""
    )


def _unpunished() -> str:
    """No penalties, where this sshd knows of any (from 9.8 on).

    All of a sandbox's clients come from one address: a few that only ask for its key would lock out the others.
    """
    known = [str(sshd_path()), "-G", "-f", os.devnull, "-o", "PerSourcePenalties=no"]
    return "PerSourcePenalties no\n" if subprocess.run(known, capture_output=True, check=False).returncode == 0 else ""


def _quoted_setting(name: str, path: Path) -> str:
    return f'"{name}={_quoted(path)[1:]}'


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'

"""Which supervisord a host has: one that is there already, or one of our own.

supervisord looks for its file in a fixed list of places (supervisord.org, "Configuration File"); only those of them
that a system-wide installation uses are taken here. An ordinary user, and a host with the program but without a file,
get an instance of our own, one for all projects of that user.
"""

from __future__ import annotations

import configparser
import glob
import hashlib
import os
import resource
import shutil
from typing import List, NamedTuple, Optional, Tuple

from ...contract.failure import USAGE, Failure
from .. import files
from ..folders import STATE_DIR_VARIABLE, host_folder

_SYSTEM_FILES = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
# An SSH command gets a short PATH on many hosts; images put the program here.
_MORE_PATH = ("/usr/local/bin", "/usr/bin", "/opt/venv/bin", "/venv/main/bin", "~/.local/bin")

DESCRIPTORS_EACH = 3  # that it keeps open for a program: its input, its output, its log
_DESCRIPTORS = 16384
_SOCKET_BYTES = 108
_LONGEST_PID = ".4194304"

_OWN = """\
; Written by deploy: the supervisord of this user's projects. Each project puts its programs into conf.d.
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={folder}/supervisord.log
logfile_maxbytes=5MB
pidfile={folder}/supervisord.pid
childlogdir={folder}
minfds={descriptors}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

[include]
files = conf.d/*.conf
"""


class Instance(NamedTuple):
    """One supervisord: how to reach it and where its programs are described."""

    config: str
    socket: str
    include: str  # folder for our manifests
    suffix: str = ".conf"
    username: str = ""
    password: str = ""
    own: bool = False  # made by us, so ours to start again after a reboot
    pidfile: str = ""


def program() -> Optional[str]:
    """Where the supervisord program is, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(os.path.expanduser, _MORE_PATH)])
    return shutil.which("supervisord", path=path)


def find(config: str = "") -> Instance:
    """The instance to use. `config` names its file where the target declares one.

    Raises:
        Failure: the file can't be used; it says which section is missing.
    """
    if config:
        return read_instance(config)
    if os.geteuid() == 0 and not os.environ.get(STATE_DIR_VARIABLE):
        for path in _SYSTEM_FILES:
            if os.path.exists(path):
                return read_instance(path)
    folder = os.path.join(host_folder(), "supervisord")
    return Instance(
        config=os.path.join(folder, "supervisord.conf"),
        socket=_own_socket(folder),
        include=os.path.join(folder, "conf.d"),
        own=True,
        pidfile=os.path.join(folder, "supervisord.pid"),
    )


def create_own(instance: Instance) -> None:
    """Write the file of our own instance, if it is not there."""
    folder = os.path.dirname(instance.config)
    files.make_folder(instance.include)
    if not os.path.exists(instance.config) or read_instance(instance.config).socket != instance.socket:
        # More than it may have it does not start with.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        descriptors = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
        text = _OWN.format(folder=folder, socket=instance.socket, descriptors=descriptors)
        files.write(instance.config, text, 0o644)


def _own_socket(folder: str) -> str:
    """Where our own instance listens: in its folder, else in /tmp under a name that means this folder.

    unix(7): an address holds 108 bytes, the last of them NUL; and supervisord binds to the name with its pid first. A
    project deep in somebody's home has a sandbox, too. Who connects looks whose the socket is.
    """
    path = os.path.join(folder, "supervisor.sock")
    if len(os.fsencode(path)) + len(_LONGEST_PID) < _SOCKET_BYTES or os.path.exists(path):
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return f"/tmp/deploy-supervisord-{os.geteuid()}-{name}.sock"  # noqa: S108


def read_instance(path: str) -> Instance:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", " #"), strict=False)
    try:
        with open(path, encoding="utf-8") as stream:
            parser.read_file(stream)
    except (OSError, configparser.Error) as error:
        raise Failure(USAGE, f"{path} can't be read: {error}") from None
    here = os.path.dirname(os.path.abspath(path))

    def option(section: str, key: str) -> str:
        value = parser.get(section, key, fallback="").strip().strip("'\"")
        return value.replace("%(here)s", here)

    socket = option("unix_http_server", "file")
    if not socket:
        raise Failure(
            USAGE,
            f"{path} has no [unix_http_server] with a file.",
            why="The deploy speaks to supervisord over its unix socket.",
            next_step=f"add to {path}: [unix_http_server] file=/var/run/supervisor.sock chmod=0700, and restart it",
        )
    include, suffix = _include(option("include", "files"), here, path)
    return Instance(
        config=path,
        socket=socket,
        include=include,
        suffix=suffix,
        username=option("unix_http_server", "username"),
        password=option("unix_http_server", "password"),
        pidfile=option("supervisord", "pidfile"),
    )


def _include(patterns: str, here: str, path: str) -> Tuple[str, str]:
    """The first folder of `[include] files` in which any file name is taken, and the suffix it wants."""
    for pattern in patterns.split():
        folder, name = os.path.split(pattern if os.path.isabs(pattern) else os.path.join(here, pattern))
        if name.startswith("*.") and not glob.has_magic(folder) and "*" not in name[1:]:
            return folder, name[1:]
    raise Failure(
        USAGE,
        f"{path} has no [include] with a pattern such as conf.d/*.conf.",
        why="Programs are added as files of their own; the file itself is never changed.",
        next_step=f"add to {path}: [include] files = conf.d/*.conf",
    )


def programs_in(folder: str, suffix: str) -> List[Tuple[str, str]]:
    """(program, file) for each `[program:…]` or `[group:…]` in the include folder; broken files are passed over."""
    found = []
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*" + suffix))):
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";", " #"), strict=False)
        try:
            with open(path, encoding="utf-8") as stream:
                parser.read_file(stream)
        except (OSError, ValueError, configparser.Error):
            continue
        for section in parser.sections():
            kind, _, name = section.partition(":")
            if kind in ("program", "group", "eventlistener", "fcgi-program"):
                found.append((name, path))
    return found

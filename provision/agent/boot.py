"""The boot hook: after a restart of the host, end open transactions and start what we had started, without a laptop.

One hook a user and host, for all of that user's projects. Where it hangs depends on what starts the host:
systemd → a unit; a Vast.ai image → /root/onstart.sh, which it runs at each start; else cron's @reboot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import List
from urllib.parse import quote

from ..contract.layout import Layout
from . import commands, files
from .alone import program
from .folders import host_folder, sandbox_environment

_MARK = "# deploy: recover projects after a restart"
_ONSTART = "/root/onstart.sh"
_CRON_SECONDS = 10.0
_LONGEST_NAME = 245  # characters: with what is put around it while it is written, a file's name has at most 255
_UNIT = """\
# Written by deploy. Ends interrupted transactions after a restart.
[Unit]
Description=deploy: recover projects after a restart
After=network.target local-fs.target

[Service]
Type=oneshot
ExecStart={python} -I {script}

[Install]
WantedBy={wanted_by}
"""


def register(layout: Layout, agent: str, platform: str) -> str:
    """Make sure that this project is recovered after a restart; why it will not be, in words, or nothing."""
    base = host_folder()
    projects = os.path.join(base, "projects")
    files.make_folder(projects)
    recover = [
        sys.executable,
        "-I",
        os.path.join(layout.agents, agent, "deploy_agent", "__main__.py"),
        "recover",
        layout.root,
    ]
    entry = {"root": layout.root, "platform": platform, "recover": recover}
    files.write_if_other(_entry(layout), json.dumps(entry))
    _forget_older(layout)
    kept = sandbox_environment()
    script = os.path.join(base, "boot.py")
    # Stands alone: it must run whatever agents there are.
    call = f"main(os.path.dirname(os.path.abspath(__file__)), {kept!r})"
    files.write_if_other(script, program("alone/boot", "trust", call=call))
    try:
        hooked = bool(kept) or _hook(script)
    except OSError as error:
        return f"the hook that starts us after a reboot can't be written: {error}"
    return "" if hooked else "nothing on this host starts us after a reboot: no systemd, cron or onstart.sh"


def roots() -> List[str]:
    """The folders of this account's projects."""
    folder = os.path.join(host_folder(), "projects")
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.append(str(files.read_json(os.path.join(folder, name))["root"]))
    return sorted(set(found))


def _hook(script: str) -> bool:
    """Whether something starts `script` with the host.

    Raises:
        OSError: it can't be written.
    """
    command = f"{sys.executable} -I {script}"
    root = os.geteuid() == 0
    if os.path.isdir("/run/systemd/system"):
        _systemd(script, root)
        return True
    if root and os.path.exists(_ONSTART):
        with open(_ONSTART, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if _MARK not in text:
            mode = os.stat(_ONSTART).st_mode & 0o777
            files.write(_ONSTART, f"{text.rstrip()}\n{command} &  {_MARK}\n", mode)
        return True
    return _cron(command)


def _systemd(script: str, root: bool) -> None:
    folder = "/etc/systemd/system" if root else os.path.expanduser("~/.config/systemd/user")
    unit = os.path.join(folder, "deploy-recover.service")
    wanted_by = "multi-user.target" if root else "default.target"
    text = _UNIT.format(python=sys.executable, script=script, wanted_by=wanted_by)
    if files.write_if_other(unit, text):
        if not root:
            os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        _quietly(["systemctl", *([] if root else ["--user"]), "enable", "deploy-recover.service"])


def _cron(command: str) -> bool:
    crontab = shutil.which("crontab")
    if crontab is None:
        return False
    try:
        listed = commands.ask([crontab, "-l"], _CRON_SECONDS, apart=True)
    except subprocess.TimeoutExpired:
        return False
    text = listed.output.decode("utf-8", "replace") if listed.status == 0 else ""
    if _MARK not in text:
        lines = [*text.splitlines(), _MARK, f"@reboot {command}"]
        done = subprocess.run([crontab, "-"], input=("\n".join(lines) + "\n").encode(), stderr=subprocess.DEVNULL)
        return done.returncode == 0
    return True


def _quietly(command: List[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def forget(layout: Layout) -> None:
    """The project is gone from this host."""
    files.remove(_entry(layout))
    _forget_older(layout)


def _entry(layout: Layout) -> str:
    """Where a project is listed, by its folder: /a/b and /a-b are two."""
    name = quote(layout.root.strip("/"), safe="")
    if len(name) > _LONGEST_NAME:  # still told apart
        name = f"{name[:100]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return os.path.join(host_folder(), "projects", name + ".json")


def _forget_older(layout: Layout) -> None:
    """Remove the entry under a name that two folders could have, if it is this project's."""
    name = layout.root.strip("/").replace("/", "-")
    older = os.path.join(host_folder(), "projects", name + ".json")
    if (
        len(os.fsencode(name)) <= _LONGEST_NAME
        and older != _entry(layout)
        and (files.read_json(older) or {}).get("root") == layout.root
    ):
        files.remove(older)

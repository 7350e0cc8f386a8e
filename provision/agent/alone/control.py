"""Written by deploy: starts, stops and shows what this project declares on demand, and nothing else.

deploy-ctl start|stop|status SERVICE
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from typing import Dict, List, NamedTuple

from ..trust import refusal


class Project(NamedTuple):
    """Whose program this is."""

    owner: str  # the account
    uid: int  # the account's
    itself: str  # this program
    listens: str  # where the owner listens
    earlier: str  # where an earlier version of it did
    agent: List[str]  # the command that asks the agent
    folder: str  # the agent's
    environment: Dict[str, str]  # what a sandbox has beside the account's
    listens_apart: Dict[str, str] = {}  # where the owner listens for one account alone, where there are several


def main(words: List[str], project: Project) -> int:
    if words != ["serve"] and (len(words) != 2 or any(set(word) & set(" \n\0") for word in words)):
        sys.stderr.write(str(__doc__))
        return 2
    if os.geteuid() == project.uid:
        os.environ.update(project.environment)
        wrong = refusal(project.folder)
        if wrong:
            sys.exit(f"deploy-ctl: {wrong}. next: deploy host mend")
        os.execv(project.agent[0], project.agent + words)  # noqa: S606
    try:
        own = project.listens_apart.get(pwd.getpwuid(os.geteuid()).pw_name, "")
        for path in (own, project.listens):
            if os.path.exists(path):
                return _ask(path, words)
        if os.path.exists(project.earlier):  # or it is that of another project
            sys.stderr.write(
                f"deploy-ctl: an earlier version may have listened on {project.earlier}; this one's place is "
                f"{project.listens}. next: put there what deploy render systemd writes\n"
            )
        os.execvp("sudo", ["sudo", "-n", "-u", project.owner, "--", project.itself, *words])  # noqa: S606
    except (OSError, KeyError) as error:
        sys.exit(f"deploy-ctl: this account can't ask {project.owner} to do it: {error}")


def _ask(path: str, words: List[str]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(" ".join(words).encode("utf-8", "replace") + b"\n")
        status, _, said = connection.makefile(encoding="utf-8").read().partition(" ")
    (sys.stdout if status in ("0", "3") else sys.stderr).write(said)
    return int(status or 1)

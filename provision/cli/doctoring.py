"""What this machine needs in order to deploy, and has."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from provision import __version__
from provision.packages import install
from provision.rollout.doctor import Finding, Word

_ASK_SECONDS = 10.0


def this_machine(*, sandbox: bool) -> Iterator[Finding]:
    """Programs, keys and the agent.

    Args:
        sandbox: whether a throwaway host is started here, which is a real SSH server.
    """
    yield Finding(Word.FINE, "deploy", f"deploy {__version__} on Python {platform.python_version()}")
    yield _program("rsync", ["rsync", "--version"], Word.PROBLEM, "ships releases")
    yield _program("ssh", ["ssh", "-V"], Word.WARNING, "is not needed by deploys, and shows what is wrong with a login")
    if sandbox:
        yield _program("sshd", None, Word.PROBLEM, "is what a sandbox is made of")
    keys = [path for path in sorted(Path.home().glob(".ssh/id_*")) if path.suffix != ".pub"]
    held = _agent()
    if held is None:
        where = (
            "SSH_AUTH_SOCK names none"
            if not os.environ.get("SSH_AUTH_SOCK")
            else "the one of SSH_AUTH_SOCK does not answer"
        )
        yield Finding(Word.FINE, "agent", f"no SSH agent: {where}; keys with a passphrase are then asked for")
    else:
        yield Finding(Word.FINE, "agent", f"the SSH agent holds {held} key{'s' * (held != 1)}")
    if keys or held:
        text = f"in ~/.ssh: {', '.join(path.name for path in keys)}" if keys else "those of the agent"
        yield Finding(Word.FINE, "keys", text)
    else:
        text = "no SSH key in ~/.ssh or in an agent; a target's `identity` may name one elsewhere"
        yield Finding(Word.WARNING, "keys", text, "ssh-keygen -t ed25519")


def _program(name: str, version: list[str] | None, missing: Word, why: str) -> Finding:
    # sshd is mostly where only root's PATH looks.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if path is None:
        return Finding(missing, name, f"{name} is not on this machine; it {why}", install(name))
    said = ""
    if version:
        try:
            done = subprocess.run(
                version, capture_output=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL, check=False
            )
            said = (done.stdout or done.stderr).decode(errors="replace").partition("\n")[0].strip()
        except (OSError, subprocess.TimeoutExpired):
            return Finding(missing, name, f"{path} does not run", install(name))
    return Finding(Word.FINE, name, said or path)


def _agent() -> int | None:
    """How many keys the SSH agent holds; None where there is none, or nobody can ask it."""
    if not os.environ.get("SSH_AUTH_SOCK") or not shutil.which("ssh-add"):
        return None
    try:
        done = subprocess.run(
            ["ssh-add", "-l"], capture_output=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: len(done.stdout.splitlines()), 1: 0}.get(done.returncode)  # ssh-add(1): 2, it can't be contacted

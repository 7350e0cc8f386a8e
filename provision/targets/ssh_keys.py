"""Which host key is a rented machine's own, and which key of ours it lets in.

Who prints a key behind the nonce that was chosen for the machine is whom the provider's own log, which is read over TLS
with the account's key, says: nobody on the way to the machine can write there.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import subprocess
from pathlib import Path

from provision.errors import Refused, UsageError
from provision.hosts import HostKey
from provision.providers.api import Clock
from provision.providers.face import Machine, Provider, Unfit
from provision.targets.labels import Label

_LOG_LINES = 400
_KEY_SECONDS = 300.0  # until a machine that runs has printed its key
_OWN_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
# sshd's own keys may still be made when this runs.
_SHOW_KEY = """\
n=0
until ls /etc/ssh/ssh_host_*_key.pub >/dev/null 2>&1 || [ $n -ge 120 ]; do sleep 1; n=$((n+1)); done
for key in /etc/ssh/ssh_host_*_key.pub; do read -r kind text _ <"$key" && echo "deploy-{nonce} $kind $text"; done
"""


def show_key(nonce: str) -> str:
    """A shell script that prints the host keys of the machine which runs it."""
    return _SHOW_KEY.replace("{nonce}", nonce)


def wait_for_key(provider: Provider, machine: Machine, clock: Clock) -> HostKey:
    """What a machine that runs has printed as its host key.

    Raises:
        Refused: the machine has no label of ours.
        Unfit: it prints no key.
    """
    label = Label.read(machine.label)
    if label is None:
        raise Refused(f"machine {machine.id} was not rented by deploy: nothing says which key is its own.")
    until = clock.now() + _KEY_SECONDS
    while True:
        if key := printed_key(provider.log(machine.id, _LOG_LINES), label.nonce):
            return key
        if clock.now() > until:
            raise Unfit(
                f"machine {machine.id} runs, and its log does not say which host key is its own.",
                next_step=f"deploy machine logs {machine.id}",
            )
        clock.sleep(10.0)


def printed_key(log: str, nonce: str) -> HostKey | None:
    """The host key that a machine printed last, of the kind that is asked for first."""
    line = re.compile(rf"^deploy-{nonce} ([a-z0-9@.-]{{1,60}}) ([A-Za-z0-9+/=]{{40,1000}})\r?$", re.MULTILINE)
    keys: dict[str, HostKey] = {}
    for kind, text in line.findall(log):
        with contextlib.suppress(binascii.Error):
            keys[kind] = HostKey(kind, base64.b64decode(text, validate=True))
    return keys.get("ssh-ed25519") or next(iter(keys.values()), None)


def public_key(identity: str | None, root: Path) -> str:
    """The key that machines are to let in.

    Args:
        identity: the file of it that the target names, from the project's folder `root` on.

    Raises:
        UsageError: there is none.
    """
    files = [root / Path(identity).expanduser()] if identity else map(Path, _OWN_KEYS)
    for file in (each.expanduser() for each in files):
        if not file.exists():
            continue
        beside = file.with_name(f"{file.name}.pub")
        if beside.exists():
            return beside.read_text(encoding="utf-8").strip()
        made = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", file], capture_output=True, text=True, timeout=10, check=False
        )
        if made.returncode == 0:
            return made.stdout.strip()
    raise UsageError(
        f"there is no SSH key that a machine could let in: {identity or _OWN_KEYS[0]}.",
        next_step="ssh-keygen -t ed25519, or name one with identity in the target",
    )

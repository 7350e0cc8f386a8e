"""What rented machines write, kept in an S3 store, encrypted before it leaves them, and brought to their successors.

The machine does it itself, with no laptop there: it has the keys of the store and the passphrase, in a folder for root
alone. Each place of a target has a folder of its own in the store; a machine in it writes there only after it got what
the one before had left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provision import rclone
from provision.agent.alone import program
from provision.contract import backup as contract
from provision.contract.backup import FOLDER, PROGRAM, SEEN, Backed, Begun, Config, Seen
from provision.errors import DeployError, UsageError
from provision.events import OnEvent, progress
from provision.hosts import HostConnection
from provision.targets.answers import A, Misfit, answer

if TYPE_CHECKING:
    from provision.project.renting import Backup

KEYS = ("BACKUP_ACCESS_KEY_ID", "BACKUP_SECRET_ACCESS_KEY", "BACKUP_PASSPHRASE")
_LEAST_PASSPHRASE = 16  # characters
_SECONDS = 120.0
_LONGEST = 6.5 * 3600.0  # a little more than the machine takes itself
_MODULES = ("alone/backup", "trust")


def start(declared: Backup | None, python: str) -> str:
    """A shell script, run by root at each start of a machine: it backs up what is due."""
    if declared is None:
        return ""
    call = f"[ ! -f {PROGRAM} ] || {python} -I {PROGRAM}"
    return f"(while :; do {call}; sleep 60; done) </dev/null >>/var/log/deploy-backup 2>&1 &\n"


def config(declared: Backup, variables: Mapping[str, str], place: str, owner: str, root: str) -> Config:
    """What a machine goes by. Pure.

    Args:
        variables: those of .env and the environment, with the keys.
        place: of the machine in its target, such as "deploy/cres/gpu/1".
        owner: what tells this machine from others that had its place.

    Raises:
        UsageError: a key is missing.
    """
    missing = [name for name in KEYS if not variables.get(name, "").strip()]
    if missing:
        raise UsageError(
            f"there is no {' and no '.join(missing)}, and the target has a backup.",
            next_step="write it into .env; docs/vast.md says who makes and keeps these",
        )
    key, secret, passphrase = (variables[name].strip() for name in KEYS)
    if len(passphrase) < _LEAST_PASSPHRASE:
        raise UsageError(
            f"BACKUP_PASSPHRASE has fewer than {_LEAST_PASSPHRASE} characters.", next_step="openssl rand -base64 32"
        )
    to = urlsplit(declared.to)
    where = "/".join(filter(None, (to.netloc, *to.path.split("/"), *place.split("/")[1:])))
    store = {"TYPE": "s3", "PROVIDER": "Other" if declared.endpoint else "AWS", "ENV_AUTH": "false"}
    store |= {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret, "REGION": declared.region, "NO_CHECK_BUCKET": "true"}
    store |= {"ENDPOINT": declared.endpoint} if declared.endpoint else {}
    vault = {"TYPE": "crypt", "REMOTE": f"store:{where}"}
    return {
        "owner": owner,
        "root": root,
        "paths": list(declared.paths),
        "every": declared.every,
        "variables": {f"RCLONE_CONFIG_STORE_{name}": value for name, value in store.items()}
        | {f"RCLONE_CONFIG_VAULT_{name}": value for name, value in vault.items()},
        "passphrase": passphrase,
        "store": f"store:{where}",
        "sha256": "",
    }


def trouble(connection: HostConnection) -> str:
    """What is wrong with a machine's backups, by its own clock; empty where nothing is, as far as it knows."""
    done = connection.run(["sh", "-c", f"date +%s && ! cat {SEEN}"], timeout=_SECONDS)
    now, _, said = done.stdout.decode("utf-8", "replace").partition("\n")
    if done.rc == 0:
        return "it has made no backup yet"
    try:
        return contract.trouble(answer(json.loads(said), Seen), float(now))
    except (ValueError, Misfit):
        return "it does not say what became of its backups"


class MachineBackup:
    """That of one machine, over a connection to it.

    Args:
        python: of the host.
    """

    def __init__(self, connection: HostConnection, python: str, config: Config, on_event: OnEvent) -> None:
        self._connection = connection
        self._python = python
        self._config = config
        self._on_event = on_event

    def bring(self) -> Backed:
        """Bring what makes backups, and then what the store has for this place; `at` is 0 where that is nothing.

        Raises:
            DeployError: it could not be brought; nothing in the store was changed.
        """
        machine = self._connection.run(["uname", "-m"]).stdout.decode().strip()
        wheel = rclone.wheel(machine, self._on_event)
        config: Config = {**self._config, "sha256": wheel.sha256}
        document = {"folder": FOLDER, "program": program(*_MODULES, call="main()"), "config": config}
        begun = self._ask(
            ["-c", program(*_MODULES, call="install()")], Begun, json.dumps(document).encode() + b"\n", _SECONDS
        )
        if not begun.get("has_rclone"):
            self._connection.rsync(
                wheel.path.parent,
                [wheel.path.name],
                FOLDER,
                chmod="Fu=rw,Fgo=",
                on_progress=lambda each: self._on_event(progress("backup", each.bytes_done, 0, unit="bytes")),
            )
            self._ask([PROGRAM, "adopt", wheel.path.name], Backed, b"", _SECONDS)
        return self._ask([PROGRAM, "restore"], Backed, b"", _LONGEST)

    def now(self) -> Backed:
        """Make one now.

        Raises:
            DeployError: not all of it is in the store.
        """
        return self._ask([PROGRAM, "now"], Backed, b"", _LONGEST)

    def _ask(self, words: list[str], expected: type[A], given: bytes, seconds: float) -> A:
        done = self._connection.run([self._python, "-I", *words], input=given, timeout=seconds)
        said = done.stderr.decode("utf-8", "replace")
        why = " ".join(said.split())[-300:] or f"Its exit status is {done.rc}."
        try:
            found = json.loads(done.stdout)
            if not isinstance(found, dict) or "fault" not in found:
                return answer(found, expected)
            why = str(found["fault"])
        except (ValueError, Misfit):
            pass
        raise DeployError(
            f"the backup of {self._connection.name} is not in order.",
            why=why,
            host=self._connection.name,
            next_step="mend that, then: deploy machine backup",
        )

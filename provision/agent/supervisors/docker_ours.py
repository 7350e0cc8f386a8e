"""Containers that have what the host has: what stands before the programs, and who is at home with that.

Their image is made here, of nothing. Of the host they see its programs and libraries, who has which account, and the
project's folder, all of it read-only but what their manifest says; so an update of the host's HAProxy is theirs, too.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from typing import List, Sequence
from urllib.parse import quote

from ...contract.containers import CONFINED, RIGHTS
from ...contract.failure import FAILED, Failure
from ...contract.layout import OF_HOST, PROJECT_LABEL, Layout
from . import docker_engine as engine

_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Accounts by name; where libraries are; what OpenSSL reads; which of several programs has a name; where names of other
# machines are looked for.
_SETTINGS = ("passwd", "group", "ld.so.cache", "ssl", "pki", "crypto-policies", "alternatives", "nsswitch.conf")


def provide() -> None:
    """Make the image, unless it is here.

    Raises:
        Failure: the engine does not take it.
    """
    path = f"/images/{quote(OF_HOST, safe='')}/json"
    if engine.find("GET", path) is not None:
        return
    name, _, tag = OF_HOST.partition(":")
    said = engine.read("POST", f"/images/create?fromSrc=-&repo={name}&tag={tag}", _nothing(), reader=engine.last)
    if engine.find("GET", path) is None:
        raise Failure(FAILED, "the engine did not take an image that has nothing in it.", why=engine.last_words(said))


def _nothing() -> bytes:
    """A file system with a folder for what is temporary."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    return packed.getvalue()


def completed(layout: Layout, body: engine.Json) -> engine.Json:
    """The body of the request that creates one: its manifest, and what only this host knows.

    Programs' secrets lie below the project's folder, and are no business of it: what it sees in their place is empty.
    """
    if not body["Entrypoint"][0].startswith(f"{layout.run}/"):  # as of one that is of no project
        body["HostConfig"]["Tmpfs"] = {**body["HostConfig"]["Tmpfs"], layout.run: "ro,nosuid,nodev,noexec,size=4k"}
    body["HostConfig"]["Binds"] = [*body["HostConfig"]["Binds"], *(f"{each}:ro" for each in _of_the_host(layout))]
    body["User"] = f"{os.geteuid()}:{os.getegid()}"  # as who deploys
    body["WorkingDir"] = layout.traffic
    return body


def alone(layout: Layout, command: str, folders: Sequence[str]) -> engine.Json:
    """The manifest of one that is of no project, has a front of its own in `layout`, and sees `folders`."""
    return {
        "Image": OF_HOST,
        "Entrypoint": [command],
        "Env": [],
        "Labels": {PROJECT_LABEL: layout.root},
        "HostConfig": {
            **CONFINED,
            "Binds": [
                f"{layout.traffic}:{layout.traffic}",
                *(f"{os.path.realpath(each)}:{each}:ro" for each in folders if each not in _PROGRAMS),
            ],
            "CapAdd": list(RIGHTS),
            "Init": False,
            "PidMode": "host",  # the numbers that HAProxy tells of its processes are the host's
            "RestartPolicy": {"Name": "unless-stopped"},
        },
    }


def _of_the_host(layout: Layout) -> List[str]:
    """What is there, from where and to where; links are followed, as the image has none."""
    places = [*_PROGRAMS, *(f"/etc/{name}" for name in _SETTINGS)]
    found = [f"{os.path.realpath(each)}:{each}" for each in places if os.path.exists(each)]
    pythons = {os.path.realpath(sys.base_prefix), sys.base_prefix, os.path.dirname(os.path.dirname(sys.executable))}
    own = sorted(each for each in pythons if not f"{each}/".startswith(("/usr/", layout.root + "/")) and each != "/")
    return [*found, f"{layout.root}:{layout.root}", *(f"{os.path.realpath(each)}:{each}" for each in own)]

"""What a project itself adds to an environment: its scripts, its name, and where its modules are.

A layer is the same for each release that links it. Python takes the path that it was started by for its prefix, and
that leads through the release's link: so the release's own modules are found, whatever the release is called.
"""

from __future__ import annotations

import glob
import os
import shutil
from typing import TYPE_CHECKING, Dict

from ..contract.layout import Layout
from . import files
from .venv import SYSTEM

if TYPE_CHECKING:
    from ..contract.release import LayerDocument, ReleaseDocument

# For a script: the Python beside the name that it was started by, and no other place's.
_HEAD = """#!/bin/sh
'''exec' "${0%/*}/python" "$0" "$@"
' '''
"""
_CALL = "import sys\nfrom {} import {}\nsys.exit({}())\n"
_OWN = "import os, sys; own = os.path.normpath(sys.prefix + '/../' + %r); own in sys.path or sys.path.append(own)\n"
_BELOW = "import site; site.addsitedir(%r)\n"


def variables(layout: Layout, document: ReleaseDocument, folder: str) -> Dict[str, str]:
    """What finds the environment of a release that lies in `folder` for now, for what prepares it."""
    environment = document.get("environment")
    if not environment:
        return {}
    base = layout.environment(environment["id"])
    found = {"PATH": f"{base}/bin:{os.environ.get('PATH', SYSTEM)}", "VIRTUAL_ENV": base}
    if "layer" in environment:
        found["PYTHONPATH"] = ":".join(os.path.join(folder, source) for source in environment["layer"]["sources"])
    return found


def lay(base: str, folder: str, layer: LayerDocument) -> None:
    """Make a layer in `folder` over the environment `base`."""
    packages = glob.glob(os.path.join(base, "lib", "python*", "site-packages"))[0]
    own = os.path.join(folder, os.path.relpath(packages, base))
    files.make_folder(own)
    programs = os.path.join(folder, "bin")
    files.make_folder(programs)
    for name in os.listdir(base):
        if name not in ("bin", "lib", "pyvenv.cfg") and not name.startswith("."):
            target = os.readlink(os.path.join(base, name)) if name == "lib64" else os.path.join(base, name)
            os.symlink(target, os.path.join(folder, name))
    shutil.copyfile(os.path.join(base, "pyvenv.cfg"), os.path.join(folder, "pyvenv.cfg"))
    for name in os.listdir(os.path.join(base, "bin")):
        _program(base, os.path.join(base, "bin", name), os.path.join(programs, name))
    _write(os.path.join(own, "_environment.pth"), _BELOW % packages)
    _write(os.path.join(own, "_project.pth"), "".join(_OWN % source for source in layer["sources"]))
    for each in layer["distributions"]:
        told = os.path.join(own, "{}-{}.dist-info".format(each["name"].replace("-", "_"), each["version"]))
        os.mkdir(told)
        _write(
            os.path.join(told, "METADATA"), "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".format(**each)
        )
        _write(os.path.join(told, "entry_points.txt"), each["entry_points"])
        _write(os.path.join(told, "INSTALLER"), "deploy\n")
    for name, where in layer["scripts"].items():
        module, _, function = where.partition(":")
        path = os.path.join(programs, name)
        files.discard(path)
        _write(path, _HEAD + _CALL.format(module, function.split(".")[0], function), 0o755)


def _program(base: str, path: str, to: str) -> None:
    """A program of the environment: a script of its Python's is made the layer's, anything else is linked."""
    with open(path, "rb") as stream:
        start = stream.read(2)
        lines = stream.read(4096).split(b"\n", 3) if start == b"#!" else []
    own = os.path.join(base, "bin").encode() + b"/"
    if os.path.islink(path) or not any(own in line for line in lines[:3]):
        os.symlink(path, to)
        return
    head = 3 if lines[0].strip() == b"/bin/sh" else 1  # uv begins with sh where the path is long
    with open(path, "rb") as stream:
        body = stream.read().split(b"\n", head)[head]
    with open(to, "wb") as made:
        made.write(_HEAD.encode() + body)
    os.chmod(to, 0o755)


def _write(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, mode)

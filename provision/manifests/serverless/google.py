"""Services as Cloud Functions of Google's, 2nd generation: sources, variables, and a script that deploys.

Sizes are those of Cloud Run, which runs them ("CPU limits", "Memory limits"); reserved variables as in the
documentation of Cloud Run functions, "Configure environment variables".
"""

from __future__ import annotations

import math
from pathlib import Path

from provision.errors import UnencodableValue
from provision.manifests.dockerfile.recipe import locked, packages
from provision.manifests.serverless.functions import Cloud, functions
from provision.manifests.templates import render
from provision.project.schema import Project
from provision.project.target import Target

_LONGEST_NAME = 63
# Cores, the least and the most memory that they come with, in MiB.
_SIZES = ((1, 128, 4096), (2, 128, 8192), (4, 2048, 16_384), (6, 4096, 24_576), (8, 4096, 32_768))
_RESERVED = frozenset(
    {
        "FUNCTION_SIGNATURE_TYPE",
        "FUNCTION_TARGET",
        "K_CONFIGURATION",
        "K_REVISION",
        "K_SERVICE",
        "PORT",
    }
)


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What `deploy render cloud-function` writes. See `provision.platforms.face.Face.files`."""
    overrides = root / "templates"
    facts = functions(project, target, _CLOUD)
    lock = locked(project.python, root)
    # A folder has no hash, so an installed project can't stand beside packages that have one.
    named = "lock" if lock and not lock.editable else packages(root)
    # pip takes no package without a hash once one has it ("Hash-checking Mode"); uv writes them for all.
    hashed = named in ("uv", "lock") or (
        named == "requirements" and "--hash=" in (root / "requirements.txt").read_text()
    )
    written: dict[str, str] = {}
    for each in facts.each:
        if each.module.partition(".")[0] == "main":
            reason = "main would be the file that Cloud Functions calls, not yours; give the module another name"
            raise UnencodableValue(f"services.{each.service}.serverless.entry", reason)
        folders = {"main.py": "python", "requirements.txt": "gcloud", "env.yaml": "gcloud", "deploy.sh": "gcloud"}
        for file, folder in folders.items():
            if each.env or file != "env.yaml":
                text = render(f"{folder}/{file}.j2", overrides, function=each, packages=named, hashed=hashed)
                written[f"{each.service}/{file}"] = text
    return written


def _size(subject: str, mib: int, cpus: float | None) -> tuple[int, int | None]:
    wanted = math.ceil(cpus or 1)
    fitting = [(each, max(mib, least)) for each, least, most in _SIZES if each >= wanted and mib <= most]
    if fitting:
        return fitting[0][1], fitting[0][0]
    most_cpus, _, most_mib = _SIZES[-1]
    key = "cpus" if wanted > most_cpus else "memory"
    raise UnencodableValue(f"{subject}.{key}", f"Cloud Functions has at most {most_cpus} cores and {most_mib} MiB")


def _call(project: str, service: str) -> tuple[str, str]:
    name = f"{project}-{service}"
    if len(name) > _LONGEST_NAME:
        raise UnencodableValue(f"services.{service}", f"{name} is longer than {_LONGEST_NAME} characters")
    return name, "main"


def _refuse_variable(name: str) -> str:
    reserved = name in _RESERVED or name.startswith("X_GOOGLE_")
    return "Cloud Functions sets this variable itself" if reserved else ""


_CLOUD = Cloud(
    name="Cloud Functions",
    platform="cloud-function",
    path="/workspace/app",
    most_seconds=3600,
    most_env_bytes=32_768,
    size=_size,
    call=_call,
    refuse_variable=_refuse_variable,
)

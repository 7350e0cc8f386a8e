"""Services as functions on AWS Lambda: a handler each, one image of all, and a SAM template.

Quotas, memory and reserved variables are those of the Lambda developer guide: "Lambda quotas", "Configure Lambda
function memory", "Working with Lambda environment variables".
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from provision.errors import UnencodableValue
from provision.manifests.dockerfile.recipe import Recipe, locked, packages, version
from provision.manifests.serverless.functions import Cloud, functions
from provision.manifests.templates import render
from provision.project.schema import Project
from provision.project.target import Target

_LEAST_MIB, _MOST_MIB = 128, 10_240
_MIB_PER_CPU = 1769
_MOST_CPUS = 6
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
_RESERVED = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What `deploy render lambda` writes. See `provision.platforms.face.Face.files`."""
    overrides = root / "templates"
    facts = functions(project, target, _cloud(project.name))
    recipe = Recipe(
        project=project.name,
        path=_path(project.name),
        python=version(project.python, root),
        locked=locked(project.python, root),
        packages=packages(root),
        folders=(),
        stages=(),
        user_id=project.user_id,
    )
    return {
        "template.yaml": render("sam/template.yaml.j2", overrides, functions=facts),
        "Dockerfile": render("dockerfile/lambda.j2", overrides, recipe=recipe),
        "Dockerfile.dockerignore": render("dockerfile/dockerignore.j2", overrides, recipe=recipe),
        **{f"{each.file}.py": render("python/lambda.py.j2", overrides, function=each) for each in facts.each},
    }


def _cloud(project: str) -> Cloud:
    return Cloud(
        name="AWS Lambda",
        platform="lambda",
        path=_path(project),
        most_seconds=900,
        most_env_bytes=4096,
        size=_size,
        call=lambda _, service: (service.title().replace("-", "") + "Function", f"lambda_{service.replace('-', '_')}"),
        refuse_variable=_refuse_variable,
    )


def _path(project: str) -> str:
    return f"/srv/{project}"


def _size(subject: str, mib: int, cpus: float | None) -> tuple[int, int | None]:
    """Cores come with memory, and not otherwise."""
    if cpus and cpus > _MOST_CPUS:
        raise UnencodableValue(f"{subject}.cpus", f"AWS Lambda has at most {_MOST_CPUS} cores for a function")
    if mib > _MOST_MIB:
        raise UnencodableValue(f"{subject}.memory", f"AWS Lambda has at most {_MOST_MIB} MiB for a function")
    return min(max(mib, _LEAST_MIB, math.ceil((cpus or 0) * _MIB_PER_CPU)), _MOST_MIB), None


def _refuse_variable(name: str) -> str:
    if name in _RESERVED or name.startswith("AWS_LAMBDA_"):
        return "AWS Lambda sets this variable itself"
    if not _VARIABLE.fullmatch(name):
        return "AWS Lambda takes names of two characters and more that begin with a letter"
    return ""

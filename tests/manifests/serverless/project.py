"""A project with two functions: what is declared, and its code."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.kubernetes.projects import project

SERVICES: dict[str, dict[str, Any]] = {
    "fastapi": {
        "command": ["uvicorn", "src.api:app"],
        "port": 8000,
        "env": {"GREETING": "it's 5 $$ ; # 100%", "ON": "yes", "LOADS": "loads"},
        "secrets": ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"],
        "check": {"http": "/docs"},
        "scale": {"max": 20},
        "resources": {"size": "small"},
        "serverless": {"entry": "src.functions:answer", "timeout": "1m"},
    },
    "resize-image": {
        "command": ["python3", "-m", "src.images"],
        "port": 8001,
        "expose": ["0.0.0.0/0"],
        "serverless": {"entry": "src.broken:answer"},
    },
    "worker": {"preset": "worker", "command": ["python3", "-m", "src.worker"]},
}
CRES = project(SERVICES)

_CODE = {
    "src/__init__.py": "",
    # Each start adds a line to a file, so that a test can count them.
    "src/functions.py": """\
import os

with open(os.environ["LOADS"], "a") as loads:
    loads.write("loaded\\n")


class Refused(Exception):
    caller_status = 422


class Upstream(Exception):
    status_code = 401


def answer(request):
    match request:
        case {"ask": name}:
            return {"is": os.environ[name]}
        case {"raise": "late"}:
            raise TimeoutError("postgres://user:hunter2@db timed out")
        case {"raise": "refused"}:
            raise Refused("too many pixels")
        case {"raise": "upstream"}:
            raise Upstream("key hunter2 is wrong")
        case {"raise": "odd"}:
            return {"nan": float("nan"), "is": "hunter2"}
        case {"raise": _}:
            raise ValueError("hunter2 is no number")
    return {"got": request}
""",
    "src/broken.py": 'raise OSError("no file /etc/hunter2")\n',
}


def write_code(folder: Path) -> None:
    for name, text in _CODE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder: Path) -> None:
    """All that is in `folder` but .env, as its one commit."""
    (folder / ".gitignore").write_text(".env\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.net", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-C", folder, *arguments], check=True)


class _Strict(yaml.SafeLoader):
    """No key twice, and no tag but the two that these templates use."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)

    def tagged(self, node: yaml.Node) -> dict[str, Any]:
        assert isinstance(node, yaml.ScalarNode)
        return {node.tag: self.construct_scalar(node)}


for _tag in ("!Ref", "!GetAtt"):
    _Strict.add_constructor(_tag, _Strict.tagged)


def parsed(text: str) -> Any:
    """A CloudFormation template, strictly."""
    return yaml.load(text, _Strict)

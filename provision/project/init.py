"""A first `deploy.toml`: `propose` looks at the folder, `text` writes what a person then confirms or changes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.project.platforms import DEFAULT, OF_IMAGES
from provision.project.sandbox import SANDBOX
from provision.project.toml import DECLARATION

_APP = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?FastAPI\(", re.MULTILINE)
_NOT_OURS = {"node_modules", "__pycache__", "venv", "site-packages", "build", "dist", "tests"}
_DEEPEST = 4  # folders; an app further down is not what a person would deploy from here
_LARGEST_SOURCE = 1_000_000  # bytes; a larger Python file is generated


@dataclass(frozen=True)
class Answers:
    """What `deploy init` asks, or finds by itself.

    Attributes:
        app: a FastAPI app as uvicorn names it, such as `src.api.main:app`.
        model: a GGUF file, relative to the project.
        worker: a module that works on a queue, such as `src.worker`.
        prepare: the command that installs what the project needs, and the files that decide about it.
        host: where to deploy, as `hosts` in a target has it.
        server: the llama-server that the host's image brings.
        image: what containers are made of, by digest; for the platform docker.
    """

    name: str
    app: str | None = None
    model: str | None = None
    worker: str | None = None
    prepare: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    host: str = "root@${VAST_HOST}:${VAST_PORT}"
    identity: str = "${VAST_SSH_KEY}"
    platform: str = DEFAULT
    path: str | None = None
    image: str | None = None
    server: str | None = None


def propose(directory: Path) -> Answers:
    """What the files in `directory` suggest."""
    sources = list(_files(directory, ".py"))
    models = [path.relative_to(directory).as_posix() for path in _files(directory, ".gguf")]
    workers = [path for path in sources if path.stem == "worker"]
    prepare = None
    if (directory / "uv.lock").is_file():
        prepare = (("uv", "sync", "--frozen", "--no-dev"), ("uv.lock", "pyproject.toml"))
    return Answers(
        name=slug(directory.resolve().name),
        app=next((app for path in sources for app in _apps(path, directory)), None),
        model=next(iter(models), None),
        worker=_module(workers[0], directory) if workers else None,
        prepare=prepare,
    )


def slug(name: str) -> str:
    """`name` as a project may be called: `My_App 2` -> `my-app-2`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"project-{plain}".strip("-"))[:40].rstrip("-")


def text(answers: Answers) -> str:
    """The file for `answers`, commented. It loads as it is, once its variables are in `.env`."""
    services = [_llama(answers)] if answers.model else []
    services += [_fastapi(answers)] if answers.app else []
    services += [_worker(answers.worker)] if answers.worker else []
    services = services or [_plain()]
    prepare = [_prepare(*answers.prepare)] if answers.prepare else []
    return "\n".join([_head(answers), *services, *prepare, _target(answers)])


def write(directory: Path, answers: Answers) -> Path:
    """Write `deploy.toml` into `directory`.

    Raises:
        UsageError: there is one already, or containers are asked for without an image.
    """
    if (answers.platform in OF_IMAGES) != bool(answers.image):
        raise UsageError(
            f"the platform {' or '.join(OF_IMAGES)} goes with an image, and no other platform does.",
            next_step=f"deploy init --platform {OF_IMAGES[0]} --image ghcr.io/owner/app@sha256:…",
        )
    file = directory / DECLARATION
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text(answers))
    except FileExistsError:
        raise UsageError(f"{file} exists already.", why="It is not overwritten.", next_step="deploy check") from None
    return file


def _files(directory: Path, suffix: str) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        depth = len(Path(folder).relative_to(directory).parts)
        folders[:] = sorted(name for name in folders if depth < _DEEPEST and name not in _NOT_OURS and name[0] != ".")
        # A name that does not print could not be written into the file as it is.
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(suffix) and name.isprintable())


def _apps(path: Path, directory: Path) -> Iterator[str]:
    if path.stat().st_size <= _LARGEST_SOURCE:
        for match in _APP.finditer(path.read_text(encoding="utf-8", errors="replace")):
            yield f"{_module(path, directory)}:{match[1]}"


def _module(path: Path, directory: Path) -> str:
    parts = path.relative_to(directory).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _quoted(value: str) -> str:
    """`value` as TOML text that means just that: JSON's escapes are TOML's, DEL apart; `$` would begin a reference."""
    return json.dumps(value.replace("$", "$$"), ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(values: tuple[str, ...]) -> str:
    return f"[{', '.join(_quoted(value) for value in values)}]"


def _head(answers: Answers) -> str:
    comment = "# of every service that names no other; by digest, so that what was tried is what runs"
    image = f"image = {_quoted(answers.image)}   {comment}\n" if answers.image else ""
    return f"""\
# What this project runs, and where. Judge it: deploy check. See what would happen: deploy plan. Do it: deploy up.
# Every key there is: deploy schema. What a verb does: deploy up --help.

[project]
name = {_quoted(answers.name)}
{image}"""


def _llama(answers: Answers) -> str:
    engine = (
        'engine = "wheel"                    # prebuilt, on processors with AVX2; "build": deploy native build makes it'
    )
    if answers.image:
        engine = 'engine = "build"                    # the image brings what `deploy native build` makes'
    gpu = ""
    if answers.server:
        engine = (
            f"binary = {_quoted(answers.server)}        # the image's own; that of llama.cpp:server-cuda uses the GPU"
        )
        gpu = """\
args = ["--n-gpu-layers", "auto"]   # as many as fit into the GPU memory that is free
env = { LLAMA_ARG_LOG_VERBOSITY = "4" }   # from there on it says where they lie
checks = [
    { gpu = "auto", timeout = "10s", passes = 1 },
    { completion = "Hello", timeout = "2m", attempt_timeout = "60s", passes = 1 },
]
"""
    return f"""\
[services.llama]
preset = "bitnet-server"            # llama-server
{engine}
{gpu}model = {_quoted(answers.model or "")}
port = 8081
# args = ["--ctx-size", "4096"]     # appended to the preset's command
# resources = {{ memory = "4GB" }}    # preflight refuses a host with less
"""


def _fastapi(answers: Answers) -> str:
    app = _quoted(answers.app or "")
    llama = '\nenv = { LLAMA_URL = "http://127.0.0.1:${services.llama.port}" }' if answers.model else ""
    return f"""\
[services.fastapi]
preset = "fastapi"
command = ["python3", "-m", "uvicorn", {app}, "--host", "127.0.0.1", "--port", "${{port}}"]
port = 8000{llama}
# secrets = ["API_KEY"]             # the value comes from .env; it never stands in a release
# check = {{ http = "/health" }}      # instead of the preset's /openapi.json
"""


def _worker(module: str) -> str:
    return f"""\
[services.worker]
preset = "worker"                   # on demand: a deploy does not start it, and lets a running one finish
command = ["python3", "-m", {_quoted(module)}]
"""


def _plain() -> str:
    return """\
[services.web]
command = ["python3", "-m", "http.server", "${port}", "--bind", "127.0.0.1"]   # no shell is involved
port = 8000
check = { http = "/" }              # a release that does not answer never stays
"""


def _prepare(command: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    return f"""\
[prepare]                           # runs on the host before the release is used; again only when an input changed
command = {_listed(command)}
inputs = {_listed(inputs)}
outputs = [".venv"]
"""


def _target(answers: Answers) -> str:
    # Host and key may hold ${VARIABLE}, so their dollars stay; the rest of their escapes do not differ.
    host, identity = (_quoted(value).replace("$$", "$") for value in (answers.host, answers.identity))
    name = "vast" if "VAST_" in answers.host else "host"
    key = f"identity = {identity}\n" if name == "vast" else ""
    prepare = "prepare = false                     # the image brings what the project needs\n"
    return f"""\
[targets.{name}]
platform = {_quoted(answers.platform)}
hosts = [{host}]     # variables come from .env or the environment
{key}path = {_quoted(answers.path or f"{_base(answers.host)}/{answers.name}")}
{prepare if answers.prepare and (name == "vast" or answers.image) else ""}"""


def _base(host: str) -> str:
    """Where projects are: on a throwaway host of this machine, in its home."""
    return "~" if host == SANDBOX else "/workspace"

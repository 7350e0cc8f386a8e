"""The text of a first `deploy.toml`, commented. It loads as it is, once its variables are in `.env`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from provision.project.init.answers import Answers
from provision.project.init.apps import App
from provision.project.init.packages import Packages
from provision.project.init.sources import Source
from provision.project.sandbox import SANDBOX


def text(answers: Answers) -> str:
    """The file for `answers`."""
    services = [_llama(answers)] if answers.model else []
    services += [_app(answers.app, llama=bool(answers.model))] if answers.app else []
    services += [_worker(answers.worker)] if answers.worker else []
    python = [_python(answers.packages, ships=answers.ships)] if answers.packages else []
    return "\n".join([_head(answers), *python, *(services or [_UNKNOWN]), _target(answers)])


def _quoted(value: str) -> str:
    """`value` as TOML text that means just that: JSON's escapes are TOML's, DEL apart."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(value: str) -> str:
    """`value` where `${…}` has a meaning that it must not have."""
    return _quoted(value.replace("$", "$$"))


def _listed(words: Iterable[str]) -> str:
    """Words of a command. Those that name a port mean it; others hold no dollar."""
    return f"[{', '.join(map(_quoted, words))}]"


def _head(answers: Answers) -> str:
    comment = "# of every service that names no other; by digest, so that what was tried is what runs"
    image = f"image = {_plain(answers.image)}   {comment}\n" if answers.image else ""
    return f"""\
# What this project runs, and where. Judge it: deploy check. See what would happen: deploy plan. Do it: deploy up.
# Every key there is: deploy schema. What a verb does: deploy up --help.

[project]
name = {_plain(answers.name)}
{image}"""


def _python(packages: Packages, *, ships: bool) -> str:
    version = f'version = "{packages.version}"' if packages.version else '# version = "3.12"'
    wheels = 'wheels = "ship"' if ships else '# wheels = "ship"'
    return f"""\
[python]                            # one environment for all services, made on each host from deploy.lock
{packages.key} = {_plain(packages.value)}
{version}
{wheels}                   # for hosts without an index: packages are collected here
"""


def _llama(answers: Answers) -> str:
    engine = (
        'engine = "wheel"                    # prebuilt, on processors with AVX2; "build": deploy native build makes it'
    )
    if answers.image:
        engine = 'engine = "build"                    # the image brings what `deploy native build` makes'
    gpu = ""
    if answers.server:
        engine = (
            f"binary = {_plain(answers.server)}        # the image's own; that of llama.cpp:server-cuda uses the GPU"
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
{gpu}model = {_plain(answers.model or "")}
port = 8081
# args = ["--ctx-size", "4096"]     # appended to the preset's command
# resources = {{ memory = "4GB" }}    # preflight refuses a host with less
"""


def _app(app: App, *, llama: bool) -> str:
    is_fastapi = app.kind == "FastAPI app"
    lines = (
        ["[services.fastapi]", 'preset = "fastapi"']
        if is_fastapi
        else [f"[services.{'web' if app.listens else 'app'}]"]
    )
    lines.append(f"command = {_listed(app.command)}")
    if app.better:
        lines.append(f"# command = {_listed(app.better)}   # with gunicorn; the above is for development")
    if app.fixed:
        lines.append(f"port = {app.fixed}                         # as its source says")
        lines.append('switch = "in-place"                 # so two of it cannot run at a time')
    else:
        lines.append(
            "port = 8000" if app.listens else "# port = 8000                       # ${port}, where it listens"
        )
    env = {**app.env, **({"LLAMA_URL": "http://127.0.0.1:${services.llama.port}"} if llama else {})}
    if env:
        lines.append(f"env = {{ {', '.join(f'{name} = {_quoted(value)}' for name, value in env.items())} }}")
    if app.check:
        lines.append(f"check = {app.check}")
    elif is_fastapi:
        lines.append('# check = { http = "/health" }      # instead of the preset\'s /openapi.json')
    lines.append('# secrets = ["API_KEY"]             # the value comes from .env; it never stands in a release')
    return "\n".join(lines) + "\n"


def _worker(source: Source) -> str:
    env = f"env = {{ PYTHONPATH = {_plain(source.folder)} }}\n" if source.folder else ""
    return f"""\
[services.worker]
preset = "worker"                   # on demand: a deploy does not start it, and lets a running one finish
command = ["python3", "-m", {_plain(source.module)}]
{env}"""


_UNKNOWN = """\
[services.web]
# command = ["./server", "--port", "${port}"]   # what starts it; no shell is involved
port = 8000
check = { http = "/" }              # a release that does not answer never stays
"""


_TRAFFIC = """
# HAProxy stands before the services: no request fails while a release changes. Without this table a service has its
# port itself, and who comes while it restarts is refused. It serves the host alone; others, too: listen = "0.0.0.0"
"""


def _target(answers: Answers) -> str:
    # Host and key may hold ${VARIABLE}, so their dollars stay.
    name = "vast" if "VAST_" in answers.host else "host"
    key = f"identity = {_quoted(answers.identity)}\n" if name == "vast" else ""
    rights = f"{answers.rights} = true\n" if answers.rights else ""
    traffic = f"\n[targets.{name}.traffic]{_TRAFFIC}" if answers.is_fronted else ""
    return f"""\
[targets.{name}]
platform = {_plain(answers.platform)}
hosts = [{_quoted(answers.host)}]     # variables come from .env or the environment
{key}path = {_plain(answers.path or f"{_base(answers.host)}/{answers.name}")}
{rights}{traffic}"""


def _base(host: str) -> str:
    """Where projects are: on a throwaway host of this machine, in its home."""
    return "~" if host == SANDBOX else "/workspace"

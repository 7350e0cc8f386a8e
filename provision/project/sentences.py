"""What pydantic reports, as plain sentences."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from provision.project.fault import Fault, Path, did_you_mean, nearest
from provision.project.image_names import IMAGE
from provision.project.schema import Declaration
from provision.project.secret_places import refused
from provision.project.units import PLACE
from provision.project.values import (
    BACKUP_PATH,
    BACKUP_PLACE,
    BUILD_FOLDER,
    DIRECTORY_URL,
    EMAIL,
    ENTRY,
    HEADER_NAME,
    HEADER_VALUE,
    METRIC,
    NAME,
    NAMESPACE,
    OBJECT_NAME,
    PACKAGE,
    PREFIX,
    PROGRAM,
    PROMETHEUS_URL,
    PYTHON_VERSION,
    SECRET_HERE,
    SECRET_KEY,
    SERVER_NAME,
    STORE_URL,
    TARGET_PLACE,
    URL_PATH,
    USER,
    VARIABLE,
)

_PATTERNS = {
    NAME: "a name of lower-case letters, digits and dashes that begins with a letter, at most 40 characters",
    VARIABLE: "a variable name of letters, digits and underscores",
    TARGET_PLACE: "an absolute path of letters, digits and . _ / @ + -",
    PLACE: "an absolute path of letters, digits and . _ / @ + -",
    USER: "an account name",
    IMAGE: "an image, such as ghcr.io/acme/cres@sha256:…",
    PREFIX: "lower-case letters, digits and dashes",
    SERVER_NAME: 'a host name, such as "www.example.net" or "*.example.net"',
    HEADER_NAME: "the name of a header, of letters, digits and dashes",
    HEADER_VALUE: "the text of a header, on one line and without blanks around it",
    BACKUP_PATH: 'shared/data, or a folder in it, such as "shared/data/indexes"',
    BACKUP_PLACE: 'a bucket and a folder in it, such as "s3://acme-backups/cres"',
    EMAIL: 'an address such as "ops@example.net"',
    DIRECTORY_URL: 'where an authority begins, such as "https://ca.example.net/directory"',
    PROMETHEUS_URL: 'where Prometheus answers, such as "https://prometheus.example.net" or "http://localhost:9090"',
    STORE_URL: 'the address of an S3 store, such as "https://s3.example.net"',
    URL_PATH: "a path of letters, digits and . _ ~ / -",
    METRIC: "the name of a metric",
    NAMESPACE: "the name of a namespace, of at most 63 lower-case letters, digits and dashes",
    OBJECT_NAME: "the name of an object in a cluster, of lower-case letters, digits, dots and dashes",
    SECRET_KEY: 'the name of a Secret and a key in it, such as "rlm-secrets/snipara-api-key"',
    BUILD_FOLDER: 'a folder beside compose.yaml, such as "." or "images/web"',
    PROGRAM: "the name of a program or unit, of letters, digits and . _ @ -",
    PYTHON_VERSION: 'a version of Python, such as "3.12"',
    PACKAGE: "a name of letters, digits, dots, dashes and underscores",
    ENTRY: 'a function, such as "package.module:function"',
}
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "is_instance_of": "text",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
# What people write who come from other tools, and what it is called here.
_SYNONYMS = {
    "environment": "env",
    "cmd": "command",
    "run": "command",
    "depends_on": "after",
    "requires": "after",
    "healthcheck": "check",
    "health": "check",
    "cpu": "cpus",
    "gpu": "gpus",
    "entrypoint": "command",
    "path": "http",
    "prompt": "completion",
    "ssh_key": "identity",
    "key": "identity",
    "identity_file": "identity",
    "server": "hosts",
    "url": "http",
}
_IN_RESOURCES = 'It is one of its resources: resources = { memory = "4GB", cpus = 2, vram = "6GB" }.'
_TWO_THINGS = (
    'What it may have: resources = { memory = "4GB", requests = { memory = "2GB" } }, and what is kept free for it.'
)
_IN_PROJECT = 'A program starts in the project\'s folder; from another one: ["sh", "-c", "cd web && exec …"].'
_IN_HOSTS = 'It stands in hosts: "user@host:port".'
_IGNORED = "What is not shipped stands in .deployignore, or in .gitignore."
# The same, where it is another way, and not another name: by where it stands, and what it is called.
_WAYS = {
    ("services", "memory"): _IN_RESOURCES,
    ("services", "cpus"): _IN_RESOURCES,
    ("services", "vram"): _IN_RESOURCES,
    ("services", "limits"): _TWO_THINGS,
    ("services", "requests"): _TWO_THINGS,
    ("services", "cwd"): _IN_PROJECT,
    ("services", "workdir"): _IN_PROJECT,
    ("services", "working_dir"): _IN_PROJECT,
    ("services", "directory"): _IN_PROJECT,
    ("services", "env_file"): '.env is read anyway: ${NAME} gives a variable, and secrets = ["NAME"] a secret.',
    ("services", "name"): "Its name is its table's: [services.NAME].",
    ("services", "hosts"): "Hosts are a target's: [targets.NAME].",
    ("project", "exclude"): _IGNORED,
    ("project", "ignore"): _IGNORED,
    ("project", "path"): "It is a target's: [targets.NAME].",
    ("project", "hosts"): "They are a target's: [targets.NAME].",
    ("targets", "port"): _IN_HOSTS,
    ("targets", "user"): _IN_HOSTS,
}
_MOST_LISTED = 20  # keys
_LONGEST_SHOWN = 60


def fault(error: ErrorDetails, written: object) -> Fault:
    """The problem that `error` is about. `written` is the whole file, so that it quotes what the user wrote."""
    kind = error["type"]
    is_key = error["loc"][-1:] == ("[key]",) and kind != "extra_forbidden"  # a key may really be called that
    path: Path = error["loc"][:-1] if is_key else error["loc"]
    if kind == "extra_forbidden":
        return Fault(path, "unknown key.", _known_key(path), at_key=True)
    if kind == "missing":
        return Fault(path, f"missing. {_MISSING.get(str(path[-1]), '')}".strip(), at_key=True)
    given = json.dumps(path[-1], ensure_ascii=False) if is_key else describe(_at(written, path))
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == SECRET_HERE:
        return refused(path, context["part"])
    if kind in _TYPES:
        return Fault(path, f"expected {_TYPES[kind]}, got {given}.", _instead(kind, path, _at(written, path)))
    if kind in ("literal_error", "enum"):
        return _choice(path, re.findall(r"'([^']+)'", context["expected"]), _at(written, path))
    if kind == "string_pattern_mismatch":
        name = str(path[-1] if is_key else _at(written, path))
        hint = _as_a_name(name) if context["pattern"] == NAME else ""
        return Fault(path, f"expected {_PATTERNS[context['pattern']]}, got {given}.", hint, at_key=is_key)
    if kind in _BOUNDS:
        return Fault(path, f"expected {_BOUNDS[kind]} {_bound(context)}, got {given}.")
    if kind == "too_short":
        return Fault(path, "expected at least one entry, got none.")
    return Fault(path, _sentence(error))


def _instead(kind: str, path: Path, given: object) -> str:
    """What to write where a value has another type."""
    if _TYPES[kind] == "a table":
        if len(path) == 2 and path[0] in ("services", "targets"):
            return f"Each has a name of its own: [{path[0]}.NAME]."
        return _TABLES.get(str(path[-1]), "")
    if isinstance(given, str) and len(given) <= _LONGEST_SHOWN:
        if kind == "int_type" and re.fullmatch(r"[0-9]+", given):
            return f"Write {given}."
        if kind == "bool_type" and given.lower() in ("true", "yes", "on", "false", "no", "off"):
            return f"Write {str(given.lower() in ('true', 'yes', 'on')).lower()}."
        if kind == "tuple_type":
            words: list[object] = [*given.split()] if path[-1] == "command" else [given]
            words = [int(given)] if given.isdecimal() else words
            return f"Write {json.dumps(words, ensure_ascii=False)}."
    if _TYPES[kind] == "text" and isinstance(given, int | float):
        return f'Write "{str(given).lower() if isinstance(given, bool) else given}".'
    return ""


def _as_a_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
    return f'Such as "{name}".' if re.match(NAME, name) else ""


_TABLES = {
    "check": 'Such as check = { http = "/health" }.',
    "env": 'Such as env = { NAME = "value" }.',
    "resources": 'Such as resources = { memory = "4GB" }.',
    "restart": 'Such as restart = { on = "failure" }.',
}
_MISSING = {
    "project": 'Every file begins with: [project] name = "…".',
    "name": 'Expected a name, such as name = "shop".',
    "hosts": 'Expected a list, such as hosts = ["root@${VAST_HOST}:${VAST_PORT}"].',
    "command": 'Expected a list, such as command = ["uv", "sync", "--frozen"].',
}
_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def describe(value: object) -> str:
    """`value` as a message shows it: the text "80", the number 80, a list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        shown = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
        return f"the text {json.dumps(shown, ensure_ascii=False)}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return "a date" if isinstance(value, dt.date | dt.time) else "nothing"


def _choice(path: Path, known: list[str], given: object) -> Fault:
    listed = ("one of " if len(known) > 1 else "") + ", ".join(f'"{choice}"' for choice in known)
    hint = did_you_mean(given, known) if isinstance(given, str) else ""
    return Fault(path, f"expected {listed}, got {describe(given)}.", hint)


def _bound(context: Mapping[str, Any]) -> str:
    return next(f"{context[name]:.15g}" for name in ("gt", "ge", "lt", "le") if name in context)


def _sentence(error: ErrorDetails) -> str:
    raised = error.get("ctx", {}).get("error")
    text = str(raised) if raised is not None else error["msg"]
    return text if text.endswith((".", "?")) else f"{text}."


def _known_key(path: Path) -> str:
    model = _annotation(path[:-1])
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    key = str(path[-1])
    if len(path) <= 3 and (way := _WAYS.get((str(path[0]), key))):
        return way
    if (synonym := key.lower() if key.lower() in known else _SYNONYMS.get(key)) in known:
        return did_you_mean(synonym, [synonym])
    if len(known) > _MOST_LISTED:
        return did_you_mean(key, known) or "`deploy schema` describes those there are."
    return nearest(key, known, "keys")


def _annotation(path: Path) -> Any:
    """The type declared at `path`: a model, or whatever its field says."""
    current: Any = Declaration
    inside = False  # a table or list of models: the next step names one of them
    for step in path:
        if inside:
            inside = False
        elif isinstance(current, type) and issubclass(current, BaseModel) and step in current.model_fields:
            annotation = current.model_fields[str(step)].annotation
            members = [annotation, *get_args(annotation)]
            models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
            inside = bool(models) and getattr(annotation, "__origin__", None) in (dict, tuple)
            current = models[0] if models else annotation
        else:
            return None
    return current


def _at(written: object, path: Path) -> object:
    for step in path:
        try:
            written = written[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return written

"""The published JSON Schema of `deploy.toml`, with which editors complete and explain its keys.

Write it anew after a change of a key: `python -m provision.project.json_schema > schema/deploy.schema.json`
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from provision.project.presets import presets
from provision.project.schema import Declaration
from provision.project.section import Section


def text() -> str:
    """The schema file, byte for byte the same for the same models."""
    schema = _plain(_explained(Declaration.model_json_schema()))
    schema["$defs"]["Service"]["properties"]["preset"]["enum"] = list(presets())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "deploy.toml",
        "description": "What a project runs, and where. Judge it with: deploy check",
    }
    rest = {key: value for key, value in schema.items() if key not in head}
    return json.dumps({**head, **rest}, indent=2, ensure_ascii=False) + "\n"


def _explained(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with the docstrings under the fields.

    pydantic can read them itself (`use_attribute_docstrings`), but then does so in each process that loads a project.
    """
    tables = {Declaration.__name__: schema, **schema["$defs"]}
    for model in _sections(Section):
        for key, text in _descriptions(model) if model.__name__ in tables else ():
            properties = tables[model.__name__]["properties"]
            properties[key] = dict(sorted({**properties[key], "description": inspect.cleandoc(text)}.items()))
    return schema


def _sections(model: type[Section]) -> Iterator[type[Section]]:
    for each in model.__subclasses__():
        yield each
        yield from _sections(each)


def _descriptions(model: type) -> Iterator[tuple[str, str]]:
    for base in model.__mro__:
        lines = inspect.getsource(base) if issubclass(base, Section) else ""
        for field, following in pairwise(node for part in ast.parse(lines).body for node in ast.iter_child_nodes(part)):
            match field, following:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield key, text


def _plain(node: Any) -> Any:
    """`node` without what says nothing in TOML: null, which it does not have, and titles that repeat the key."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("anyOf"), list):
        kinds = [kind for kind in node["anyOf"] if kind != {"type": "null"}]
        node = {key: value for key, value in node.items() if key != "anyOf"}
        node |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if "patternProperties" in node:
        node = {**node, "additionalProperties": False}  # a name that does not fit is refused
    return {
        key: _plain(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }


if __name__ == "__main__":
    sys.stdout.write(text())

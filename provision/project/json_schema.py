"""The published JSON Schema of `deploy.toml`, with which editors complete and explain its keys.

Write it anew after a change of `schema.py`: `python -m provision.project.json_schema > schema/deploy.schema.json`
"""

from __future__ import annotations

import json
import sys
from typing import Any

from provision.project.presets import presets
from provision.project.schema import Declaration


def text() -> str:
    """The schema file, byte for byte the same for the same models."""
    schema = _plain(Declaration.model_json_schema())
    schema["$defs"]["Service"]["properties"]["preset"]["enum"] = list(presets())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "deploy.toml",
        "description": "What a project runs, and where. Every key with an example: docs/deploy.toml.md",
    }
    rest = {key: value for key, value in schema.items() if key not in head}
    return json.dumps({**head, **rest}, indent=2, ensure_ascii=False) + "\n"


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

"""Values as the reader of a Dockerfile takes them.

Dockerfile reference, "Shell and exec form": a JSON array is neither split nor expanded, so a word stands there as a
JSON string. "Environment replacement": in LABEL, ENV and the like `$` begins a variable; in double quotes a backslash
escapes it, a quote and itself.
"""

from __future__ import annotations

import json

from provision.errors import UnencodableValue
from provision.manifests.value import Value, check_process_string


def docker_arg(value: Value) -> str:
    """One word of an instruction in exec form that is exactly `value`.

    Raises:
        UnencodableValue: no argument can hold it.
    """
    check_process_string(value.subject, value.text)
    return json.dumps(value.text, ensure_ascii=not value.text.isprintable())


def docker_string(value: Value) -> str:
    """A value of LABEL or ENV that is exactly `value`.

    Raises:
        UnencodableValue: it holds the end of a line, which also ends the instruction.
    """
    check_process_string(value.subject, value.text)
    if not value.text.isprintable():
        raise UnencodableValue(value.subject, "this line of a Dockerfile can hold printable characters alone")
    escaped = value.text.replace("\\", r"\\").replace('"', r"\"").replace("$", r"\$")
    return f'"{escaped}"'

"""What others say, made harmless before a person's terminal, or a page, reads it. Pure.

Logs, answers of services, names of files, command lines, and all that a host or a registry tells are not ours. A
terminal obeys what stands in them: escape sequences (ECMA-48: ESC, or one character of C1) clear it, rename it and fill
the clipboard; a carriage return writes over what stood there; marks of direction (UAX #9) let it read in another order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# C0 but tab and newline; DEL and C1; marks of direction; separators that some take for a newline; halves of characters.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """`text` with each character that a terminal would obey as an escape of Python's; lines stay lines."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


def shown_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """`event` with all of its texts so, however deep."""
    return {key: _any(value) for key, value in event.items()}


def _any(value: Any) -> Any:
    match value:
        case str():
            return shown(value)
        case Mapping():
            return {(shown(key) if isinstance(key, str) else key): _any(item) for key, item in value.items()}
        case list() | tuple():
            return [_any(item) for item in value]
    return value


def json_line(event: Mapping[str, Any]) -> str:
    """`event` as a line of JSON that reads the same, and that a terminal may show as well."""
    text = json.dumps(event, ensure_ascii=False, default=str)
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

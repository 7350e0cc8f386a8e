"""Values as a reader of YAML takes them, of 1.1 (Kubernetes, PyYAML) and 1.2 (Compose) alike.

YAML 1.2.2, 7.3.1 "Double-Quoted Style": only there can every character be written; a backslash and a quote are
escaped, and what is not printable (5.1 "Character Set") or would be taken for a line's end. 7.3.2 "Single-Quoted
Style" doubles its own quote and leaves the rest as it is, so it reads better where that is less. Without quotes stands
only what no version of the type rules (1.1 "Language-Independent Types", 1.2.2 10.3) reads as anything but text.
"""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.value import LONGEST_STRING, Value, Variable, check_process_string

_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]')
_NAMED = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}
_PLAIN_ASCII = re.compile("[ -~]*")
_UNQUOTED = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*")
_TYPED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def quoted(text: str) -> str:
    """`text` in quotes: in those that need fewer escapes, and in double ones if in doubt."""
    escapes = text.count('"') + text.count("\\")
    if escapes > text.count("'") and _PLAIN_ASCII.fullmatch(text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + _ESCAPED.sub(lambda found: _escape(found[0]), text) + '"'


def scalar(text: str) -> str:
    """`text` without quotes where every reader takes it for that text, else with them."""
    is_text = _UNQUOTED.fullmatch(text) and text.lower() not in _TYPED
    return text if is_text else quoted(text)


def checked(value: Value, longest: int = LONGEST_STRING) -> str:
    """The value's text, once a process can be given it.

    Raises:
        UnencodableValue: it cannot.
    """
    check_process_string(value.subject, value.text, longest)
    return value.text


def entry(variable: Variable, text: str) -> str:
    """`NAME: "value"`, one entry of a mapping of variables; the value always in quotes, so that all look alike."""
    return f"{scalar(variable.name)}: {quoted(text)}"


def number(value: Value) -> str:
    """A whole number, or a fraction.

    Raises:
        UnencodableValue: it is something else, so a reader may take it for text.
    """
    if not re.fullmatch(r"0|[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]+", value.text):
        raise UnencodableValue(value.subject, f"{value.text!r} is no number as YAML has them")
    return value.text


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}")

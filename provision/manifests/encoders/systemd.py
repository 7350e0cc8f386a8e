"""Values as systemd reads them.

systemd.syntax(7), "Quoting": inside double quotes a backslash starts an escape, `%` starts a specifier
(systemd.unit(5), "Specifiers"), and one invalid escape makes systemd drop the whole assignment. In command lines `$`
starts a variable as well (systemd.service(5), "Command lines"). So each character that means something there is
escaped, nothing else is, and what no escape can write is refused.
"""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.value import LONGEST_STRING, Value, Variable, check_process_string

_NAMED = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t", "\r": r"\r"}
_CONTROLS = {chr(code): f"\\x{code:02x}" for code in (*range(1, 0x20), 0x7F)}
_ENV = str.maketrans({**_CONTROLS, **_NAMED, "%": "%%"})
_ARG = str.maketrans({**_CONTROLS, **_NAMED, "%": "%%", "$": "$$"})

# What Unicode keeps from being characters. systemd refuses a unit that holds one; an escaped one may stand in a command
# line, but drops a variable.
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)) + "]"
)


def systemd_arg(value: Value) -> str:
    """One word of `ExecStart=`, after the program, that is exactly `value`.

    Raises:
        UnencodableValue: no argument can hold it.
    """
    check_process_string(value.subject, value.text)
    text = _NONCHARACTER.sub(lambda found: _as_bytes(found[0]), value.text.translate(_ARG))
    return f'"{text}"'


def systemd_env(variable: Variable) -> str:
    """One `Environment=` item that gives `variable` exactly its value.

    Raises:
        UnencodableValue: no environment or no unit file can hold it.
    """
    text = _checked(variable.value, LONGEST_STRING - len(variable.name) - 1)
    return f'"{variable.name}={text.translate(_ENV)}"'


def systemd_value(value: Value) -> str:
    """The value of a directive that reads its whole line as it is, such as `Description=`.

    Raises:
        UnencodableValue: `value` holds what would end, continue or shorten the line.
    """
    text = _checked(value, LONGEST_STRING)
    if text != text.strip() or text.endswith("\\") or any(character in text for character in _CONTROLS):
        raise UnencodableValue(
            value.subject, "this line of a unit file can hold no control character, blank edge or backslash at the end"
        )
    return text.replace("%", "%%")


def _checked(value: Value, longest: int) -> str:
    check_process_string(value.subject, value.text, longest)
    found = _NONCHARACTER.search(value.text)
    if found:
        raise UnencodableValue(value.subject, f"systemd refuses U+{ord(found[0]):04X}, which is no character")
    return value.text


def _as_bytes(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())

"""Values as supervisord reads them (4.2 and 4.3, tried; its documentation names only the `%`).

A file is read in four steps: a parser of ini files cuts lines, and comments that a `;` or `#` after white space
begins, even inside quotes; `%(here)s` is replaced as text; `%` expands; and `command` is split as
a shell's words are (shlex, POSIX mode). There is no escape for a line's end.
"""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.value import Value, check_process_string

# Files are read with universal newlines: each of these ends a line, or comes back as another one.
_LINE_END = re.compile(r"[\r\n]")
_COMMENT = re.compile(r"(?<=\s)(?=[;#])")


def supervisor_arg(value: Value) -> str:
    """One word of `command=` that is exactly `value`.

    Raises:
        UnencodableValue: `value` holds a line's end, or is nothing that an argument can hold.
    """
    check_process_string(value.subject, value.text)
    _refuse_line_ends(value)
    # Leaving and entering the quotes changes nothing for shlex, and puts a quote between a blank and the `;` that
    # would begin a comment, and into the middle of `%(here)s`.
    text = value.text.replace("'", "'\"'\"'")
    text = _COMMENT.sub("''", text).replace("%(", "%''(")
    return "'" + text.replace("%", "%%") + "'"


def ini_value(value: Value) -> str:
    """The value of any other key that is exactly `value`.

    Raises:
        UnencodableValue: `value` is nothing that an ini file can hold.
    """
    check_process_string(value.subject, value.text)
    _refuse_line_ends(value)
    if value.text != value.text.strip() or _COMMENT.search(value.text) or value.text.startswith((";", "#")):
        raise UnencodableValue(
            value.subject, "supervisord's files have no quotes for a blank at the edge, or one before ; or #"
        )
    if "%" in value.text:
        raise UnencodableValue(value.subject, "supervisord expands % once in some keys and twice in others")
    return value.text


def _refuse_line_ends(value: Value) -> None:
    if _LINE_END.search(value.text):
        raise UnencodableValue(value.subject, "supervisord's files have no escape for a line's end")

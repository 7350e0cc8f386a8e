"""Values that mean the same in every format: names, paths and numbers out of harmless characters."""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.value import Value

_WORDS = re.compile(r"[A-Za-z0-9._/@+:-]+(,? [A-Za-z0-9._/@+:-]+)*")
_HARMLESS = re.compile(r"[A-Za-z0-9._/@+:-]*")


def plain(value: Value) -> str:
    """`value` as it is.

    Raises:
        UnencodableValue: a character of it may mean something in some format; another encoder has to be used.
    """
    if not _HARMLESS.fullmatch(value.text):
        raise UnencodableValue(value.subject, f"{value.text!r} is not plain: use an encoder of this format")
    return value.text


def line(value: Value) -> str:
    """`value` as it is: words out of harmless characters, with one blank between them.

    Raises:
        UnencodableValue: it is something else.
    """
    if not _WORDS.fullmatch(value.text):
        raise UnencodableValue(value.subject, f"{value.text!r} is not a line of plain words")
    return value.text

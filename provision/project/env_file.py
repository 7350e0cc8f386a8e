"""`.env` with another value in it, and every other byte of it as it was.

Its reader is python-dotenv. A value stands bare where nothing in it means anything to that reader or to a shell, in
single quotes where those hold it as it is, else in double quotes with escapes. Whatever is to be written is read back
first, and has to say the same as before of every other variable.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from provision import whole
from provision.errors import UsageError

if TYPE_CHECKING:
    from dotenv.parser import Binding

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_NOT_IN_SINGLE = re.compile(r"['\\\r]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})
# An entry as python-dotenv's parser reads it. Behind a bare value only what a blank stands before is a comment.
_ENTRY = re.compile(
    r"(?P<head>\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=#\s]+))[^\S\r\n]*+"
    r"(?:=(?:[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")(?P<behind>[^\S\r\n]*#[^\r\n]*)?"
    r"|(?![^\S\r\n]*[\"'])[^\r\n]*?(?P<after>[^\S\r\n]+#[^\r\n]*)?))?"
    r"(?P<end>[^\S\r\n]*(?:\r\n|\n|\r|))",
    re.DOTALL,
)
_BOM = "\ufeff"


def with_value(text: str, name: str, value: str) -> str:
    """`text` of a `.env`, in which `name` is `value`: where it stands already, else at the end.

    Raises:
        UsageError: the value cannot stand in such a file, or a line of the file cannot be read.
    """
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"{name} cannot hold this value.", why="It is not text, or holds NUL, which no variable can.")
    bom, body = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    written = _quoted(value)
    pieces = [
        _with(binding.original.string, written) if binding.key == name else binding.original.string
        for binding in _read(body)
    ]
    wanted = [(key, value if key == name else held) for key, held in _said(body)]
    new = "".join(pieces)
    if name not in dict(wanted):
        end = "\r\n" if "\r\n" in body else "\n"
        new += "" if not new or new.endswith(("\n", "\r")) else end
        new += f"{name}={written}{end}"
        wanted.append((name, value))
    if _said(new) != wanted:
        raise UsageError(
            f"{name} cannot be written without changing what another line of .env says.",
            next_step=f"write it there by hand: {name}=…",
        )
    return bom + new


def write(path: Path, name: str, value: str) -> None:
    """Give `name` its value in the file `path`, which is there whole at any moment, and is its owner's alone.

    Raises:
        UsageError: as `with_value`, or the file cannot be read or written.
    """
    place = Path(os.path.realpath(path))  # a link stays one
    try:
        text = place.read_bytes().decode() if place.exists() else ""
        new = with_value(text, name, value)
        whole.write(place, new.encode(), synced=True)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text.", next_step="mend it in an editor") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written.", why=f"{error.strerror}.") from None


def _quoted(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    if not _NOT_IN_SINGLE.search(value):
        return f"'{value}'"
    return f'"{value.translate(_ESCAPES)}"'


def _with(original: str, written: str) -> str:
    """An entry of the file with `written` in place of its value, and its comment behind it."""
    entry = _ENTRY.fullmatch(original)
    if entry is None:
        return original  # which reading it back tells
    comment = (entry["behind"] or entry["after"] or "").strip()
    return f"{entry['head']}={written}{'  ' + comment if comment else ''}{entry['end']}"


def _said(text: str) -> list[tuple[str, str | None]]:
    """What the project's reader gets: for Python each end of a line is one character."""
    bindings = _read(text.replace("\r\n", "\n").replace("\r", "\n"))
    return [(binding.key, binding.value) for binding in bindings if binding.key is not None]


def _read(text: str) -> list[Binding]:
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(text, newline="")))
    if any(binding.error for binding in bindings):
        raise UsageError(".env has a line that cannot be read, so nothing was changed.", next_step="deploy check")
    return bindings

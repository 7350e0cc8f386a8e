"""ssh's configuration read by ourselves, on a machine without ssh: as little as is needed, and nothing guessed.

Known are `Host`, `Match all`, `Include`, and what is taken from them (`TAKEN`); some words decide nothing here
(`IDLE`). Any other word that would hold for the host is refused with its place. ssh_config(5) has the rules.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from provision.errors import UsageError
from provision.packages import install

_TAKEN = """
    certificatefile connecttimeout globalknownhostsfile hostkeyalias hostname identitiesonly identityagent
    identityfile port proxycommand proxyjump user userknownhostsfile
"""
_SEVERAL = {"identityfile", "certificatefile"}
_IDLE = """
    addkeystoagent batchmode checkhostip ciphers clearallforwardings compression controlmaster controlpath
    controlpersist dynamicforward escapechar exitonforwardfailure forwardagent forwardx11 forwardx11trusted
    gssapiauthentication gssapidelegatecredentials hashknownhosts kbdinteractiveauthentication localforward loglevel
    nohostauthenticationforlocalhost numberofpasswordprompts passwordauthentication permitlocalcommand
    preferredauthentications pubkeyauthentication remoteforward requesttty sendenv serveralivecountmax
    serveraliveinterval setenv stricthostkeychecking tcpkeepalive updatehostkeys visualhostkey
"""
TAKEN, IDLE = frozenset(_TAKEN.split()), frozenset(_IDLE.split())
_MOST_INCLUDES = 16  # ssh's own depth limit
_LINE = re.compile(r"\s*([^\s=\"#]+)(?:\s*=\s*|\s+)(.*?)\s*")
_WORD = re.compile(r"""(#.*)|((?:"[^"]*"|'[^']*'|\\.|[^\s"'])+)|(\S)""")
_QUOTED = re.compile(r"""\"([^"]*)"|'([^']*)'|\\([\\"' ])""")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"(\d+)([smhdw]?)", re.IGNORECASE)


def read_settings(files: Sequence[Path], host: str, declared: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What `files` say about `host`, by keyword, as ssh itself would tell it; `declared` stands first.

    Raises:
        UsageError: one cannot be read, or says what is known to ssh alone.
    """
    found = {keyword: [*values] for keyword, values in declared.items()}
    for file in files:
        _read(file, host, found, file.parent)
    found["hostname"] = [name.replace("%h", host).replace("%%", "%") for name in found.get("hostname", [host])]
    found.setdefault("identityfile", [f"~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")])
    return found


def standalone(file: Path) -> str:
    """The text of `file`, with what it includes named so that it is found from anywhere."""
    lines = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        keyword, value = _split(line)
        if keyword == "include":
            line = "Include " + " ".join(f'"{path_of(name, file.parent)}"' for name in _words(value, file, number))
        lines.append(line + "\n")
    return "".join(lines)


def path_of(name: str, folder: Path = Path()) -> Path:
    """The path that `name` means, seen from `folder`; the home of nobody known stays as it is written."""
    with contextlib.suppress(RuntimeError):
        return folder / Path(name).expanduser()
    return folder / name


def _read(file: Path, host: str, found: dict[str, list[str]], base: Path, depth: int = 0) -> None:
    holds = True  # what is included in a block holds where the block does, and its own blocks end with it
    for number, line in enumerate(_text(file).splitlines(), 1):
        keyword, value = _split(line)
        if keyword == "host":
            holds = _means(_words(value, file, number), host)
        elif keyword == "match":
            if _words(value.lower(), file, number) != ["all"]:
                raise _refused(file, number, f"Match {value}")
            holds = True
        elif not holds or not keyword or keyword in IDLE:
            continue
        elif keyword == "include":
            if depth == _MOST_INCLUDES:
                why = f"Include goes more than {_MOST_INCLUDES} files deep."
                raise UsageError(f"cannot read ssh's configuration {file}", why=why)
            for name in _words(value, file, number):
                pattern = path_of(name, base)
                for included in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
                    _read(included, host, found, base, depth + 1)
        elif keyword in TAKEN:
            _take(keyword, value, found, (file, number))
        else:
            raise _refused(file, number, keyword)


def _take(keyword: str, value: str, found: dict[str, list[str]], place: tuple[Path, int]) -> None:
    # A command is the rest of the line, whatever is in it.
    words = [value] if keyword == "proxycommand" else _words(value, *place)
    if not words or (len(words) > 1 and "knownhosts" not in keyword):
        raise UsageError(f"{place[0]}:{place[1]}: {keyword} wants one value, and has {value!r}")
    text = " ".join(words)
    if keyword == "connecttimeout":
        text = _seconds(text, place)
    elif keyword == "identitiesonly":
        text = "yes" if text in ("yes", "true") else "no"
    if keyword in _SEVERAL:
        found.setdefault(keyword, []).append(text)
        return
    found.setdefault(keyword, [text])
    if keyword in ("proxyjump", "proxycommand"):  # the first of both
        found.setdefault("proxycommand" if keyword == "proxyjump" else "proxyjump", ["none"])


def _seconds(text: str, place: tuple[Path, int]) -> str:
    """sshd_config(5), "TIME FORMATS"."""
    parts = _TIME.findall(text.lower())
    if text == "none":
        return text
    if "".join(map("".join, parts)) != text.lower():
        raise UsageError(f"{place[0]}:{place[1]}: {text} is no time", next_step="say 30, 30s or 1m30s")
    return str(sum(int(number) * _UNITS[unit] for number, unit in parts))


def _means(patterns: Sequence[str], host: str) -> bool:
    """ssh_config(5), "PATTERNS"; there are no sets of characters in them."""
    found = False
    for pattern in patterns:
        wild = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(wild, host):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _split(line: str) -> tuple[str, str]:
    """The keyword, in small letters, and what follows; empty for a comment."""
    match = _LINE.fullmatch(line)
    return (match[1].lower(), match[2]) if match else (line.strip().lower() if line.strip()[:1] != "#" else "", "")


def _words(value: str, file: Path, number: int) -> list[str]:
    words = []
    for comment, word, stray in _WORD.findall(value):
        if comment:
            break
        if stray:
            raise UsageError(f"{file}:{number}: a quote is not closed in {value}")
        words.append(_QUOTED.sub(r"\1\2\3", word))
    return words


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read ssh's configuration {file}", why=str(error)) from error


def _refused(file: Path, number: int, what: str) -> UsageError:
    return UsageError(
        f"{file}:{number}: {what} is known to ssh alone, and there is no ssh on this machine",
        why="What it decides would have to be guessed.",
        next_step=install("ssh"),
    )

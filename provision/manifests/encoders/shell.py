"""Values as a POSIX shell reads them.

POSIX.1-2017, Shell Command Language, 2.2.2 "Single-Quotes": between single quotes each character stands for itself;
a single quote cannot stand there. So a quote is written by leaving the quotes, escaping it, and entering them again.
"""

from __future__ import annotations

from provision.errors import UnencodableValue
from provision.manifests.value import (
    LONGEST_STRING,
    AtStart,
    FromSecret,
    Value,
    Variable,
    check_process_string,
    refuse_secrets,
)

# What the launcher template sets before the first value is used. Double-quoted, so that it stays one word.
_AT_START = {AtStart.CPUS: '"$deploy_cpus"', AtStart.FILES: '"$deploy_secret_files"'}
_ROOM_AT_START = {AtStart.CPUS: 16, AtStart.FILES: 4096}  # bytes that each may grow to: digits, PATH_MAX

# Names that some /bin/sh (dash, busybox, bash) keeps for itself: read-only, overwritten, or checked when assigned.
_SHELLS_OWN = frozenset(
    {
        # read-only in bash, which refuses to go on
        *("EUID", "PPID", "SHELLOPTS", "UID"),
        # overwritten or counted by some shell
        *("_", "COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "FUNCNAME", "GROUPS", "HISTCMD"),
        *("LINENO", "OLDPWD", "PWD", "RANDOM", "SECONDS", "SHLVL", "SRANDOM"),
        # obeyed by the shell itself, or checked
        *("EXECIGNORE", "OPTARG", "OPTERR", "OPTIND", "POSIXLY_CORRECT"),
    }
)


def shell_arg(value: Value) -> str:
    """One word that is exactly `value`.

    Raises:
        UnencodableValue: no argument can hold it, or everybody would see it there.
    """
    refuse_secrets(value)
    return _quote(value, LONGEST_STRING)


def shell_env(variable: Variable) -> str:
    """`NAME='value'`, for `export` or for env(1).

    A secret comes from the variable of its name, which the shell has by then. What stands in double quotes is read
    once (POSIX 2.6): the shell does not look at what the variable holds.

    Raises:
        UnencodableValue: no environment can hold it.
    """
    return f"{variable.name}={_quote(variable.value, LONGEST_STRING - len(variable.name) - 1)}"


def is_shells_own(name: str) -> bool:
    """Whether a shell may refuse or change the variable `name`, so that env(1) has to set it."""
    return name in _SHELLS_OWN or name.startswith("BASH")


def check_program(value: Value, *, behind_env: bool) -> None:
    """Refuse a program name that `exec` or env(1) would take for something else.

    Raises:
        UnencodableValue: it is empty, begins with "-", or holds "=" where env(1) starts it.
    """
    name = value.known
    if not name:
        raise UnencodableValue(value.subject, "a program's name cannot be empty")
    if name.startswith("-"):
        raise UnencodableValue(value.subject, f'a program\'s name cannot begin with "-"; write "./{name}"')
    if behind_env and "=" in name:
        raise UnencodableValue(value.subject, 'a program whose name holds "=" cannot be given this environment')


def _quote(value: Value, longest: int) -> str:
    room = sum(_ROOM_AT_START[part] for part in value.parts if isinstance(part, AtStart))
    check_process_string(value.subject, value.known, longest - room)
    return "".join(map(_word, value.parts)) or "''"


def _word(part: str | AtStart | FromSecret) -> str:
    if isinstance(part, FromSecret):
        return f'"${{{part.name}}}"'
    return _AT_START[part] if isinstance(part, AtStart) else _single(part)


def _single(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

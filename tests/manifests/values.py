"""Values that formats trip over, and a program that tells what it was given."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# What some format reads as more than itself, alone and in the company that makes it so.
_TRAPS = (
    *(
        "'",
        '"',
        "\\",
        "\\\\",
        "\\n",
        "\\x41",
        "`id`",
        "$(id)",
        "$HOME",
        "${HOME}",
        "$$",
        "$",
        "!",
        "*",
        "?",
        "[a]",
        "{a,b}",
    ),
    *(
        "%",
        "%%",
        "%(here)s",
        "%(ENV_HOME)s",
        "%n",
        "%h",
        ";",
        " ;",
        " #",
        "#",
        "\t;",
        "&",
        "|",
        "<",
        ">",
        "(",
        ")",
        "~",
    ),
    *(
        " ",
        "  ",
        "\t",
        "=",
        ",",
        "-",
        "--",
        "é",
        "ß",
        "日本",
        "🦙",
        "\u2028",
        "\x85",
        "\u00a0#",
        "\ufeff",
        "\x01",
        "\x1b[0m",
        "\x7f",
    ),
    *("yes", "null", "0x10", "1e3", "a"),
)
_LINE_ENDS = ("\n", "\r", "\r\n", "\n\n", " \n", "\n ")


def texts(*, line_ends: bool = True, noncharacters: bool = True) -> st.SearchStrategy[str]:
    """Any text that a process can be given, with the traps of all formats often in it."""
    without = "\0" + ("" if line_ends else "\r\n")
    anything = st.text(st.characters(codec="utf-8", exclude_characters=without), max_size=40)
    traps = st.lists(st.sampled_from(_TRAPS + (_LINE_ENDS if line_ends else ())), max_size=8).map("".join)
    both = st.one_of(anything, traps, st.tuples(anything, traps).map("".join))
    return both if noncharacters else both.filter(lambda text: not any(_is_noncharacter(ord(char)) for char in text))


def _is_noncharacter(code: int) -> bool:
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


BATCH = 25  # values in one process


def batches(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=BATCH, max_size=BATCH)


def examples(processes: int) -> settings:
    """Settings for tests in which an example starts real processes: BATCH values in each."""
    return settings(
        max_examples=processes,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )


_ECHO = """\
import json, os, sys
given = {name.decode("latin-1"): value.hex() for name, value in os.environb.items()}
told = {"argv": [os.fsencode(arg).hex() for arg in sys.argv[1:]], "env": given, "pid": os.getpid(), "cwd": os.getcwd()}
with open(os.environ.get("ECHO_TO", "/dev/fd/1"), "w") as out:
    out.write(json.dumps(told) + "\\n")
"""
_STAY = "import signal\nsignal.pause()\n"


def echo(python: str, *, stay: bool = False) -> list[str]:
    """A command that tells what it was given, on its output or in the file ECHO_TO."""
    return [python, "-I", "-S", "-c", _ECHO + (_STAY if stay else "")]


ECHO = echo(sys.executable)
ECHO_AND_STAY = echo(sys.executable, stay=True)


@dataclass(frozen=True)
class Echo:
    """What a process was given."""

    argv: list[str]
    env: dict[str, str]
    pid: int
    cwd: str

    @classmethod
    def of(cls, line: str) -> Echo:
        told = json.loads(line)
        return cls(
            argv=[bytes.fromhex(arg).decode() for arg in told["argv"]],
            env={name: bytes.fromhex(value).decode(errors="replace") for name, value in told["env"].items()},
            pid=told["pid"],
            cwd=told["cwd"],
        )

"""Every command of ours that a message, a document, a help text or an example names is there, with its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from provision.cli.commands import deploy

ROOT = Path(__file__).parents[1]
OURS = ("provision", "bitnet", "templates", "docs", "examples", "images", "scripts", "native", ".github")
TEXTS = {".md", ".yml", ".yaml", ".toml", ".j2", ".sh", ".txt", ".example", ""}
# Where a command begins: a line, a quotation, the end of a sentence's part, or what leads to one.
BEGINS = r"(?:^|[`\"'(;:,|$&]|\b(?:then|or|and|run|with|by|is|next|see|until|after|before))[ \t]*"
COMMAND = re.compile(rf"{BEGINS}(deploy (?:[a-z][a-z-]*|--?[a-z][a-z-]*)(?:[ \t][^\s`;,()|&]+)*)", re.MULTILINE)
# What follows the noun or the verb in a sentence, and is no command.
PROSE = re.compile(
    "a|again|agent|all|any|anything|are|as|at|be|before|by|did|does|each|ends|failed|for|from|goes|has|in|is|it|its|key"
    "|not|nothing|of|on|only|or|over|reached|read|refused|replaces|runs|s|see|serves|ships|takes|that|the|them|this|to"
    "|was|what|when|which|while|who|with|without|would|wrote"
)


def texts() -> Iterator[tuple[str, str]]:
    """Where something is said, and what."""
    files = [*ROOT.glob("*"), *(file for folder in OURS for file in (ROOT / folder).rglob("*"))]
    for file in sorted(file for file in files if file.is_file() and "golden" not in file.parts):
        name = file.relative_to(ROOT).as_posix()
        if file.suffix == ".py":
            yield from ((f"{name}:{line}", text) for line, text in constants(file))
        elif file.suffix in TEXTS and "__pycache__" not in file.parts and name != "CHANGELOG.md":
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                yield f"{name}:{number}", line


def constants(file: Path) -> Iterator[tuple[int, str]]:
    """Each text in a program, with `…` for what is put into it."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def named() -> Iterator[tuple[str, str]]:
    for where, text in texts():
        for found in COMMAND.finditer(text):
            words = found[1].split()
            if not PROSE.fullmatch(words[1]):
                yield where, " ".join(words)


def wrong(line: str) -> str:
    """What of a command is not there; empty where all of it is."""
    command: click.Command = deploy
    rest = line.split()[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, context = rest.pop(0).rstrip(".!?:"), click.Context(command)
        below = command.get_command(context, name) if re.fullmatch(r"[a-z][a-z-]*", name) else None
        if below is None:
            return f"no command {name}" if re.fullmatch(r"[a-z][a-z-]*", name) else ""
        command = below
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    for word in rest:
        if word == "--":
            break
        option = word.partition("=")[0].rstrip(".:?!\"'")
        if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in known:
            return f"no option {option}"
    return ""


def test_a_command_that_is_named_is_there() -> None:
    found = [*named()]

    assert len(found) > 300
    assert [f"{where}: {command}: {why}" for where, command in found if (why := wrong(command))] == []


def test_a_command_that_is_not_there_is_told() -> None:
    assert wrong("deploy logs --transaction") == "no option --transaction"
    assert wrong("deploy vast up") == "no command vast"
    assert wrong("deploy host trsut gpu-03") == "no command trsut"
    assert not wrong("deploy exec -- ls --all")

"""What others say reaches a person's terminal as text, and a program byte for byte."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.cli.github.summary import summary
from provision.shown import json_line, shown
from tests.cli.conftest import DEPLOY, Project
from tests.cli.test_terminal import talk

EVIL = "\x1b]0;TITLE\x07\x1b[2J\x1b]52;c;cm0=\x07 \x9b31m \u202e\rover"
ESCAPED = r"\x1b]0;TITLE\x07\x1b[2J\x1b]52;c;cm0=\x07 \x9b31m \u202e\rover"
_SAYS = f'import sys\nsys.stdout.buffer.write({EVIL.encode()!r} + b" \\xff\\x1b\\n")\nsys.stdout.flush()\n'


def obeyed(text: str) -> set[str]:
    """What a terminal would obey in it, apart from the ends of lines."""
    return {char for char in text if not char.isprintable()} - {"\n", "\t"}


def test_logs_answers_and_names_of_files_are_escaped_for_people_and_logs_are_whole_for_programs(
    project: Project,
) -> None:
    """Issue 13, 5: escapes, C1 and marks of direction in a log, an answer and a name of a file."""
    web = (project.root / "web.py").read_text()
    (project.root / "web.py").write_text(_SAYS + web)
    (project.root / f"{EVIL}.txt").write_text("x")
    assert f"add {ESCAPED}.txt" in project.ok("plan")
    project.ok("up")

    piped = subprocess.run([*DEPLOY, "logs", "web"], cwd=project.root, env=project._environ, stdout=subprocess.PIPE)
    code, seen = talk(project, "logs", "web", answers=[])
    (first, *_) = [event["line"] for event in project.events("logs", "web") if event["event"] == "log"]
    assert EVIL.encode() + b" \xff\x1b\n" in piped.stdout
    assert (code, first) == (0, EVIL + " \ufffd\x1b")
    assert ESCAPED in seen
    assert not obeyed(seen.replace("\r\n", "\n"))

    sick = web.replace("self.wfile.write(VERSION.encode())", f"self.wfile.write({EVIL!r}.encode()[:3])")
    sick = sick.replace("STATUS = 200", "STATUS = 503").replace('"asked for", self.path', repr(EVIL))
    (project.root / "web.py").write_text(sick)
    declared = (project.root / "deploy.toml").read_text().replace('"10s"', '"1s"')
    (project.root / "deploy.toml").write_text(declared)
    failed = project.run("up")
    assert failed.returncode == 1
    assert r"HTTP 503 \x1b]0" in failed.stderr
    assert "  | " + ESCAPED.removesuffix(r"\rover") + "\n" in failed.stderr
    assert not obeyed(failed.stdout + failed.stderr)

    code, seen = talk(project, "exec", "--no-terminal", "--", "printf", EVIL, answers=[])
    assert code == 0
    assert not obeyed(seen.replace("\r\n", "\n"))


def controls(text: str) -> set[str]:
    return {char for char in text if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0}


@given(st.text())
def test_no_text_is_obeyed_and_json_reads_the_same(text: str) -> None:
    assert not controls(shown(text)) - {"\n", "\t"}
    line = json_line({"event": text})
    assert json.loads(line) == {"event": text}
    line.encode()  # also halves of characters
    assert not controls(line)


MARKDOWN = [
    ("[a](http://evil.example) [b](c)", r"`[a](http://evil.example)` \[b\](c)"),
    ("see http://evil.example or www.evil.example", "see `http://evil.example` or `www.evil.example`"),
    ("mail ann@evil.example $x$", r"mail `ann@evil.example` \$x\$"),
    ("# heading", r"\# heading"),
]


@pytest.mark.parametrize(("said", "text"), MARKDOWN)
def test_what_others_say_is_neither_link_nor_heading_in_a_summary(said: str, text: str) -> None:
    """Issue 13, 5: an error of a host, and the last lines of a program's log."""
    error = {"event": "error", "host": "", "what": said, "next": "x", "log": [said, "```", "# heading"]}

    told = summary(["up"], [error])

    assert f"\n\n**{text}**\n" in told
    assert told.endswith(f"- next: `x`\n\n````text\n{said}\n```\n# heading\n````")

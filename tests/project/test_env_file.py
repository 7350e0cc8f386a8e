"""A value in `.env`, written as python-dotenv reads it back; everything else in the file stays as it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.project.env_file import with_value, write
from provision.project.environment import read_environment
from provision.release.ignore import never

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
HARD = st.text(st.sampled_from("a'\"\\\r\n\t #=$`!{}é\u2028\x0b\x1c"), max_size=12)
NAMES = st.sampled_from(["A", "TOKEN", "B_2"])
# Lines as people write them, each with all ways to quote, comments and ends of lines.
LINES = st.tuples(
    st.sampled_from(["", "  ", "export ", "\n", "# a comment\n", "# it's \"half\n\n"]),
    NAMES,
    st.sampled_from(["=", " = ", "= "]),
    st.sampled_from(["", "x", "a b", "a#b", "'q q'", "'it\\'s'", '"d\\n"', '"two\nlines"', "'#'", "sk-1\\2"]),
    st.sampled_from(["", " # why", "  ", "\t# 'x"]),
    st.sampled_from(["\n", "\r\n"]),
).map("".join)


def read(folder: Path, text: str) -> dict[str, str]:
    file = folder / "env"
    file.write_bytes(text.encode())
    found = read_environment(file, ".env", {}, required=True)
    assert not found.problems
    return dict(found.variables)


@given(st.lists(LINES, max_size=4), NAMES, TEXTS | HARD)
def test_every_value_is_read_back_exactly_and_nothing_else_changes(tmp_path_factory, lines, name, value):
    folder = tmp_path_factory.getbasetemp()
    text = "".join(lines)
    new = with_value(text, name, value)
    assert read(folder, new) == {**read(folder, text), name: value}


def test_comments_order_and_the_ends_of_lines_stay():
    text = "# keys\r\nA=1 # why\r\n\r\nexport TOKEN='old' # of ann\r\nB=2"
    assert with_value(text, "TOKEN", "a b") == "# keys\r\nA=1 # why\r\n\r\nexport TOKEN='a b'  # of ann\r\nB=2"
    assert with_value(text, "C", "it's") == text + '\r\nC="it\'s"\r\n'


def test_of_an_old_value_nothing_is_left():
    assert with_value("TOKEN=sk-old#half\nTOKEN='sk-old' #x\n", "TOKEN", "new") == "TOKEN=new\nTOKEN=new  #x\n"


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_variable_can_hold_is_refused(value):
    with pytest.raises(UsageError, match="TOKEN cannot hold this value"):
        with_value("", "TOKEN", value)


def test_a_file_with_a_line_that_cannot_be_read_is_left_alone(tmp_path):
    file = tmp_path / ".env"
    file.write_text("A='open\nB=2\n")
    with pytest.raises(UsageError, match="a line that cannot be read"):
        write(file, "TOKEN", "it's")
    assert file.read_text() == "A='open\nB=2\n"


def test_the_file_is_its_owner_s_alone_and_a_link_to_it_stays_one(tmp_path):
    (tmp_path / "elsewhere").write_text("A=1\n")
    (tmp_path / "elsewhere").chmod(0o644)
    (tmp_path / ".env").symlink_to("elsewhere")
    write(tmp_path / ".env", "TOKEN", "x")
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "A=1\nTOKEN=x\n"
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "elsewhere"]


def test_what_was_half_written_when_it_was_killed_is_shipped_nowhere(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("A=1\n")
    there: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: there.extend(path.name for path in tmp_path.iterdir()))
    write(tmp_path / ".env", "TOKEN", "x")
    assert len(there) == 2  # what it will be lies beside it
    assert all(map(never, there))

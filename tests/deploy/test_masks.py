"""Hole 6: no secret is shown, nor a line of one, however it is written and wherever a text is cut."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import urllib.parse
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.agent import launch
from provision.agent.layout import Layout
from provision.agent.masks import Masks

KEY = "-----BEGIN KEY-----\nMIIEtopsecretline1AAAA\n  MIIEtop+secret/line2==\n-----END KEY-----\n"

# Few letters, so that values overlap, repeat, and begin with each other.
_values = st.lists(st.text("ab\n", min_size=1, max_size=12), min_size=1, max_size=4)
_texts = st.lists(st.one_of(st.text("abc\n", max_size=8), st.integers(0, 3)), max_size=8)
_cuts = st.lists(st.integers(0, 60), max_size=6)


@given(values=_values, parts=_texts, cuts=_cuts)
def test_no_line_of_a_secret_is_shown_however_the_text_is_cut(
    values: list[str], parts: list[str | int], cuts: list[int]
) -> None:
    text = "".join(part if isinstance(part, str) else values[part % len(values)] for part in parts)
    masks = Masks((f"S{number}", value) for number, value in enumerate(values))
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    stream = masks.stream()

    shown = "".join(stream.feed(text[a:b]) for a, b in pairwise(places)) + stream.end()

    assert shown == masks.mask(text)
    for value in values:
        for line in (value, *(line.strip() for line in value.splitlines())):
            assert not line.strip() or len(line) < 4 or line not in shown


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY.replace("\n", "\r\n"),
        KEY.splitlines()[1],
        json.dumps({"key": KEY}),
        repr(KEY),
        repr(KEY.encode()),
        shlex.quote(KEY),
        urllib.parse.quote(KEY),
        urllib.parse.urlencode({"key": KEY}),
        KEY.encode().hex(),
        *(base64.b64encode(before + KEY.encode() + b"behind").decode() for before in (b"", b"x", b"user:")),
        base64.encodebytes(KEY.encode()).decode(),
    ],
)
def test_a_key_is_recognized_in_every_common_writing(written: str) -> None:
    shown = Masks([("DEPLOY_KEY", KEY)]).mask(f"it is {written}.")

    assert "<DEPLOY_KEY>" in shown
    for form in (KEY, KEY.encode().hex(), base64.b64encode(KEY.encode()).decode()):
        assert not any(form[at : at + 12] in shown for at in range(len(form) - 12))


def test_of_two_secrets_where_one_begins_or_ends_like_the_other_nothing_shows() -> None:
    masks = Masks([("A", "secret-abc"), ("B", "secret-abc-and-more-XYZ"), ("C", "XYZ-tail")])

    assert masks.mask("secret-abc secret-abc-and-more-XYZ secret-abc-and-more-XYZ-tail.") == "<A> <B> <B>."


def test_an_empty_secret_masks_nothing() -> None:
    assert Masks([("EMPTY", ""), ("OTHER", "hunter2")]).mask("as it is, hunter2") == "as it is, <OTHER>"


def test_what_has_begun_is_held_back_only_until_it_turns_out_to_be_something_else() -> None:
    stream = Masks([("A", "secret-abc")]).stream()

    assert [stream.feed(piece) for piece in ("building s", "ec", "ond\n", "secret-", "abc\n")] == [
        "building ",
        "",
        "second\n",
        "",
        "<A>\n",
    ]


def test_a_message_keeps_what_the_protocol_goes_by_and_its_sentences() -> None:
    message = {"event": "error", "kind": "put back", "why": "The old release serves.", "log": ["old", "put back"]}

    masked = Masks([("A", "old"), ("B", "put back")]).message(message)

    assert masked == {**message, "log": ["<A>", "<B>"]}


_READS = """
import sys
from provision.agent import launch
from provision.agent.layout import Layout
try:
    print(launch.every_secret(Layout(sys.argv[1])))
except PermissionError:
    print("refused")
"""


@pytest.mark.root
def test_a_launch_folder_that_cannot_be_entered_is_not_taken_for_one_without_secrets(tmp_path: Path) -> None:
    """Hole 6: deploy-ctl's unit gives root no capability, and another account's folder is closed to it."""
    layout = Layout(str(tmp_path))
    service = {"program": "web", "user": "nobody", "launch": "", "secrets": ["A", "B"], "secret_files": ["B"]}
    launch.stage(layout, service, "r", "one", {"A": "hunter2", "B": "hunter3"})
    launch.select(layout, "web", "one")
    (Path(layout.launchers("web")) / "half.new").mkdir()
    reads = [sys.executable, "-c", _READS, str(tmp_path)]

    assert launch.every_secret(layout) == [("A", "hunter2"), ("B", "hunter3")]
    closed = subprocess.run(["setpriv", "--bounding-set=-all", *reads], capture_output=True, text=True, check=True)
    assert closed.stdout == "refused\n"

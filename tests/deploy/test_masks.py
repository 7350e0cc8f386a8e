"""Hole 6: no secret is shown, nor a line of one, however it is written and wherever a text is cut."""

from __future__ import annotations

import base64
import html
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

from provision.agent import commands, launch
from provision.agent.checks import here
from provision.agent.checks.check import Failed
from provision.agent.masks import Masks
from provision.agent.supervisors.log_file import tail
from provision.agent.told import Told
from provision.contract.layout import Layout

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
        urllib.parse.quote(KEY, safe="!'()*~").replace("%2B", "%2b").replace("%2F", "%2f"),  # JavaScript's, lower case
        html.escape(KEY),
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
from provision.agent import commands, launch
from provision.agent.checks import here
from provision.agent.checks.check import Failed
from provision.contract.layout import Layout
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
    launch.stage(layout, service, "r", "one", {"A": "hunter2", "B": "hunter3"}, {})
    launch.select(layout, "web", "one")
    (Path(layout.launchers("web")) / "half.new").mkdir()
    reads = [sys.executable, "-c", _READS, str(tmp_path)]

    assert launch.every_secret(layout) == [("A", "hunter2"), ("B", "hunter3")]
    closed = subprocess.run(["setpriv", "--bounding-set=-all", *reads], capture_output=True, text=True, check=True)
    assert closed.stdout == "refused\n"


def test_what_is_cut_is_cut_between_lines(tmp_path: Path) -> None:
    """Hole 6: the end of a secret would not be known as one."""
    log = tmp_path / "log"
    log.write_text(f"{KEY.splitlines()[1]}{'x' * (64 << 10)}\nthe last\n")
    assert tail(str(log)) == b"the last\n"

    script = f"echo {'k' * here.OUTPUT_LIMIT}; echo the last; exit 1"
    with pytest.raises(Failed, match=r"^exit status 1: the last$"):
        here.Here().run(["sh", "-c", script], 5.0)


def test_empty_lines_of_a_step_cost_what_is_sent_for_them() -> None:
    told: list[str] = []
    step = Told(Masks([]), told.append)

    step(b"\n" * 200_000)
    step.end()

    assert len(told) < 20_000
    assert "lines in all are not shown" in " ".join(told)


def test_a_runner_that_fails_is_no_failure_of_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hole 9: such as under a Python that can't fork."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'MemoryError: no room' >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with pytest.raises(OSError, match=r"^make could not be run on this host: MemoryError: no room$"):
        commands.run(["make"], 5.0, cwd="/")


def test_a_bundle_of_certificates_costs_little_and_the_key_in_it_is_known() -> None:
    certificate = "-----BEGIN CERTIFICATE-----\n" + "MIIEpublic0123456789\n" * 50 + "-----END CERTIFICATE-----\n"

    assert len(Masks([("CA", certificate * 200)])._needles) < 50
    shown = Masks([("TLS", certificate + KEY)]).mask(f"{KEY.splitlines()[1]} MIIEpublic0123456789")
    assert shown == "<TLS> MIIEpublic0123456789"

"""What happens, as lines, as live progress and as JSON Lines."""

import io
import json

import pytest

from provision.cli.console import Console
from provision.cli.render import columns
from provision.cli.sentences import sentence
from provision.errors import UsageError
from provision.project.units import seconds, size

SENTENCES = [
    ({"event": "phase", "host": "gpu-1", "phase": "connect", "state": "begin"}, "gpu-1: connecting"),
    ({"event": "phase", "host": "gpu-1", "phase": "connect", "state": "end"}, None),
    (
        {"event": "progress", "host": "gpu-1", "phase": "ship", "done": 5_000_000, "total": 5_000_000, "unit": "bytes"},
        "gpu-1: shipping: 5.0 MB",
    ),
    (
        {"event": "progress", "host": "gpu-1", "phase": "ship", "done": 5, "total": 50, "unit": "bytes"},
        "gpu-1: shipping: 10 % (5 bytes of 50 bytes)",
    ),
    (
        {"event": "progress", "phase": "compile", "done": 190, "total": 190, "unit": "steps"},
        "compiling: 190 steps",
    ),
    (
        {"event": "step", "host": "gpu-1", "step": "start", "program": "llama", "detail": "beside the old one"},
        "gpu-1: starting llama beside the old one",
    ),
    (
        {
            "event": "check",
            "host": "gpu-1",
            "program": "web",
            "check": "web http /health",
            "passed": True,
            "seconds": 0.034,
            "attempts": [["HTTP 503", 1], ["passed", 2]],
            "facts": {},
        },
        "gpu-1: passed: web http /health (34 ms, 3 attempts)",
    ),
    (
        {
            "event": "check",
            "host": "gpu-1",
            "program": "llama",
            "check": "llama completion",
            "passed": False,
            "seconds": 61.0,
            "attempts": [["HTTP 503", 1]],
            "facts": {"tokens_per_second": 12.3},
        },
        "gpu-1: FAILED: llama completion (61.0 s, 1 attempt, 12 tokens/s)",
    ),
    ({"event": "warning", "host": "", "text": "no AVX2"}, "warning: no AVX2"),
    ({"event": "output", "host": "a", "source": "prepare", "text": "one\ntwo\n"}, "a:   | one\n  | two"),
    (
        {
            "event": "result",
            "host": "gpu-1",
            "outcome": "committed",
            "channel": "stable",
            "release": "4f1c9a0011223344",
            "seconds": 2.25,
        },
        "gpu-1: done, stable is 4f1c9a001122 (2.2 s)",
    ),
    ({"event": "transaction", "host": "gpu-1", "transaction": "t-1"}, None),
    ({"event": "progress", "phase": "download", "done": 5_000, "total": 0}, "downloading: 5.0 kB"),
    (
        {"event": "progress", "phase": "compile", "done": 0, "total": 9, "unit": "steps"},
        "compiling: 0 % (0 of 9 steps)",
    ),
]


@pytest.mark.parametrize(("event", "said"), SENTENCES, ids=[f"{e['event']}-{n}" for n, (e, _) in enumerate(SENTENCES)])
def test_an_event_is_one_sentence_or_silent(event, said):
    assert sentence(event) == said


@pytest.mark.parametrize(("value", "said"), [(0.0123, "12 ms"), (2.25, "2.2 s"), (99, "99.0 s"), (125, "2 min 5 s")])
def test_a_time_is_as_short_as_it_is_clear(value, said):
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (123_456, "123 kB"), (5_368_709_120, "5.4 GB")],
)
def test_a_size_has_the_unit_that_fits(value, said):
    assert size(value) == said


def test_columns_are_aligned():
    assert columns([["a", "long", "x"], ["longer", "b", ""]]) == ["a       long  x", "longer  b"]


def test_with_json_only_events_reach_stdout_and_nothing_reaches_stderr(capsys):
    console = Console(as_json=True)
    console.event({"event": "warning", "host": "", "text": "mind ü"})
    console.note("for people")
    console.answer({"event": "result", "n": 1}, "for people")
    told = capsys.readouterr()
    assert [json.loads(line) for line in told.out.splitlines()] == [
        {"event": "warning", "host": "", "text": "mind ü"},
        {"event": "result", "n": 1},
    ]
    assert told.err == ""


def test_without_a_terminal_events_are_lines_on_stderr_and_answers_stand_on_stdout(capsys):
    console = Console()
    with console.live():
        console.event({"event": "warning", "host": "", "text": "mind"})
        console.event({"event": "warning", "host": "", "text": "mind"})
    console.answer({"event": "result"}, ["one", "two"])
    told = capsys.readouterr()
    assert told.err == "warning: mind\n"
    assert told.out == "one\ntwo\n"


def test_nobody_is_asked_where_nobody_is(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="passphrase of key: nobody is there"):
        Console().ask("passphrase of key: ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """A terminal on stderr, which has all that it was sent."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    return terminal


def test_progress_goes_on_in_place_after_a_part_that_shows_its_own(monkeypatch):
    terminal = on_terminal(monkeypatch)
    console = Console()
    with console.live():
        with console.live():
            console.event({"event": "phase", "host": "", "phase": "compile", "state": "begin"})
        console.event({"event": "phase", "host": "gpu-1", "phase": "ship", "state": "begin"})
    assert "gpu-1" in terminal.getvalue()
    assert "gpu-1: shipping" not in terminal.getvalue()  # as a log has it


def test_live_progress_keeps_checks_and_shows_hosts_at_work(monkeypatch):
    terminal = on_terminal(monkeypatch)
    console = Console()
    with console.live():
        console.event({"event": "phase", "host": "gpu-1", "phase": "ship", "state": "begin"})
        console.event({"event": "progress", "host": "gpu-1", "phase": "ship", "done": 5, "total": 10, "unit": "bytes"})
        console.event({"event": "step", "host": "gpu-1", "step": "start", "program": "web", "detail": ""})
        console.event(SENTENCES[6][0])
        console.event(SENTENCES[10][0])
    shown = terminal.getvalue()
    assert "gpu-1: passed: web http /health (34 ms, 3 attempts)" in shown
    assert "gpu-1: done, stable is 4f1c9a001122" in shown
    assert "[" not in shown.replace("\x1b[", "")  # no markup of a value's own is obeyed or left over

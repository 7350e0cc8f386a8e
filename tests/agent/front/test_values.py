"""What users declare stands in the configuration as values, whatever it is."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision.agent.front.render import render, structure
from provision.agent.front.values import DRAIN, Backend, Bind, Certificate, Front, Limits, Route, Server
from provision.contract.failure import Failure
from tests.agent.front.stand import haproxy

_SHARP = st.sampled_from(
    ["'", '"', "\\", "\\'", "$HOME", "${X}", "#", " ", "\t", "%[src]", "%", "}", "{", "--", "-f", "if"]
)
_ANY = st.lists(st.one_of(_SHARP, st.characters(codec="utf-8", exclude_characters="\0")), max_size=12).map("".join)


def _front(
    host: str = "h", path: str = "/p", header: str = "X-A", value: str = "v", certificate: str = "", **more: str
) -> Front:
    """A front with a word of a user's at each place that holds one."""
    backend = Backend(
        more.get("service", "api"),
        (Server(more.get("program", "api"), 1001), Server("api.canary", 1002, more.get("lane", "canary"))),
        limits=Limits(headers=((header, value),)),
    )
    bind = Bind(1000, (Route(backend.service, (host,), path),), more.get("address", "127.0.0.1"))
    bind = bind._replace(certificates=(Certificate(certificate),) if certificate else ())
    return Front(
        "/f", more.get("project", "shop"), (bind,), (backend,), user=more.get("user", ""), group=more.get("user", "")
    )


_KEYS = ["host", "path", "header", "value", "certificate", "service", "program", "lane", "address", "project", "user"]


@given(st.sampled_from(_KEYS), _ANY)
@settings(max_examples=600)
def test_no_value_changes_what_another_line_says(key, value):
    """Read back as HAProxy reads words, each line but the one with the value is what it is for a harmless one."""
    harmless = {"path": "/p", "address": "127.0.0.1", "header": "X-A", "certificate": "/c"}.get(key, "harmless")
    try:
        text = render(_front(**{key: value}))
    except Failure as failure:
        assert failure.next_step == "deploy check" or "route" in failure.what.lower()
        return
    expected = render(_front(**{key: harmless}))

    lines, wanted = text.split("\n"), expected.split("\n")
    if key in ("certificate", "path", "user", "address"):  # empty ones add or take lines away
        assert all("\r" not in line for line in lines)
    assert _words_of(text) is not None
    if value and value.rstrip("/"):
        assert len(lines) == len(wanted)
        for line, other in zip(lines, wanted, strict=True):
            assert len(_words(line)) == len(_words(other))


def _words_of(text: str) -> list[list[str]]:
    return [_words(line) for line in text.split("\n")]


def _words(line: str) -> list[str]:
    """As HAProxy splits a line (configuration manual, 2.2)."""
    found, word, quote, at, begun = [], "", "", 0, False
    while at < len(line):
        letter = line[at]
        if quote == "'" and letter != "'":
            word += letter
        elif letter == "'":
            quote, begun = ("" if quote else "'"), True
        elif letter == "\\":
            at += 1
            word, begun = word + line[at], True
        elif letter == "#":
            break
        elif letter in " \t":
            if begun or word:
                found.append(word)
            word, begun = "", False
        else:
            assert letter not in '"$', f"expanded in {line!r}"
            word += letter
        at += 1
    assert not quote, line
    return [*found, word] if begun or word else found


@pytest.mark.parametrize(
    "value",
    [
        "it's",
        '"',
        "\\",
        "\\'",
        "a\\",
        "$HOME",
        "# none",
        "%[src]",
        "100%",
        "} if { always_true",
        "-f /etc/passwd",
        "ä€",
        "a\tb",
    ],
)
def test_haproxy_reads_what_was_meant(value, tmp_path):
    front = _front(value=value, path="/" + value)
    (tmp_path / "haproxy.cfg").write_text(render(front), encoding="utf-8")
    done = subprocess.run(
        [haproxy(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x1bb"])
def test_what_no_line_can_hold_is_refused_by_name(value):
    with pytest.raises(Failure, match="header"):
        render(_front(value=value))


def test_states_shares_and_addresses_are_no_structure_and_all_else_is():
    front = _front()
    backend = front.backends[0]
    servers = tuple(server._replace(state=DRAIN, port=7, address="::1") for server in backend.servers)
    moved = backend._replace(servers=servers, shares=(("canary", 5_000),), held=True)

    assert structure(front._replace(backends=(moved,))) == structure(front)
    assert render(front._replace(backends=(moved,))) != render(front)
    for other in (
        backend._replace(limits=Limits(timeout=1.0)),
        backend._replace(servers=backend.servers[:1]),
        backend._replace(hold_requests=1),
    ):
        assert structure(front._replace(backends=(other,))) != structure(front)


@pytest.mark.parametrize(
    ("front", "what"),
    [
        (_front()._replace(backends=()), "no service of this front"),
        (_front()._replace(backends=_front().backends * 2), "twice"),
        (_front()._replace(binds=(Bind(1000, (Route("api", to_tls=443),)),)), "to one of both"),
        (_front()._replace(binds=(Bind(70_000, (Route("api"),)),)), "port 70000"),
        (_front()._replace(drain_seconds=1e9), "time"),
    ],
)
def test_what_no_front_can_be_is_refused(front, what):
    with pytest.raises(Failure, match=re.escape(what)):
        render(front)


def test_an_address_names_no_interface():
    with pytest.raises(Failure, match="interface"):
        render(_front(address="fe80::1%a\n  bind :1"))

"""Which image a name means."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.images.registry.reference import Reference, parse
from provision.project.image_names import IMAGE

HEX = "0123456789abcdef" * 4

NAMES = [
    ("debian", Reference("docker.io", "library/debian")),
    ("debian:12", Reference("docker.io", "library/debian", "12")),
    ("owner/app", Reference("docker.io", "owner/app")),
    ("index.docker.io/app", Reference("docker.io", "library/app")),
    ("ghcr.io/owner/app:canary", Reference("ghcr.io", "owner/app", "canary")),
    ("localhost/app", Reference("localhost", "app")),
    ("localhost:5000/app", Reference("localhost:5000", "app")),
    ("[::1]:5000/a/b/c:x", Reference("[::1]:5000", "a/b/c", "x")),
    (f"r.example/app@sha256:{HEX}", Reference("r.example", "app", "", f"sha256:{HEX}")),
    (f"r.example:5/a__b-c.d:v1@sha256:{HEX}", Reference("r.example:5", "a__b-c.d", "v1", f"sha256:{HEX}")),
]


@pytest.mark.parametrize(("text", "meant"), NAMES, ids=[text for text, _ in NAMES])
def test_a_name_is_read_as_docker_reads_it(text, meant):
    assert parse(text) == meant


def test_docker_hub_answers_under_another_name_than_it_has():
    assert parse("debian").host == "registry-1.docker.io"
    assert str(parse("debian:12")) == "docker.io/library/debian:12"


BAD = [
    "",
    "App",
    "app:",
    "a//b",
    "-a",
    "app:.x",
    "app@sha256:12",
    f"app@sha512:{HEX}",
    "r.example/",
    "a b",
    "app:" + "x" * 129,
]
BAD += ["r.example:port/app", "http://r.example/app", "a___b", "r.example/" + "a" * 250, "../app", "app\n"]


@pytest.mark.parametrize("text", BAD)
def test_what_names_no_image_is_refused_with_the_text_and_an_example(text):
    with pytest.raises(UsageError) as refusal:
        parse(text)
    assert repr(text) in refusal.value.what
    assert "ghcr.io/owner/name:canary" in refusal.value.next_step


@pytest.mark.parametrize("text", [text for text, _ in NAMES])
def test_what_names_an_image_may_stand_in_deploy_toml(text):
    assert re.fullmatch(IMAGE, text)


@given(st.text("aB0.:/-_@[]", max_size=12) | st.sampled_from([text for text in BAD if len(text) < 200]))
def test_deploy_toml_takes_exactly_the_names_that_are_read(text):
    try:
        parse(text)
    except UsageError:
        assert not re.fullmatch(IMAGE, text)
    else:
        assert re.fullmatch(IMAGE, text)


_part = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-)[a-z0-9]+){0,2}", fullmatch=True)
_tag = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True)


@given(st.sampled_from(["docker.io", "ghcr.io", "localhost:5000"]), _part, _part, st.just("") | _tag, st.booleans())
def test_a_name_that_was_written_is_read_as_the_same(registry, one, two, tag, pinned):
    reference = Reference(registry, f"{one}/{two}", tag, f"sha256:{HEX}" if pinned else "")
    assert parse(str(reference)) == reference

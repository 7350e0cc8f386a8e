"""The chain from binaries to host: what each step says, and what is missing with the command that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from provision.contract.model_types import COMMIT_LABEL, SOURCE_LABEL
from provision.errors import DeployError, RegistryFailed, UsageError
from provision.images.promotion.evidence import CheckResult, Evidence, Finding
from provision.images.promotion.history import History, Move
from provision.images.promotion.whole import OfImage
from provision.page.rendering import render
from provision.rollout.chain import Chain, Program, links, of_place, together

DIGEST, NAME, HELL = "sha256:" + "d" * 64, "registry.test/app:stable", "<script>alert(1)</script>"
AT = datetime(2026, 11, 30, tzinfo=UTC)
BUILT = {
    "binaries": {"llama-server": {"sha256": "b" * 64}},
    "source": {"name": "llama.cpp", "commit": "c" * 40},
    "profile": "min",
}
NO_KEYS = UsageError("evidence.pub is missing.", next_step="deploy image keys init")
SILENT = RegistryFailed("registry.test does not answer.", next_step="curl registry.test")


def evidence(*, passed: bool = True, who: str = "ann") -> Finding:
    said = Evidence("app", DIGEST, (CheckResult("health", passed),), AT, who, "ci")
    return Finding("sha256:" + "e" * 64, said, "k" * 64)


def image(*found: Finding, history: History | None = None, labels: Mapping[str, str] | None = None) -> OfImage:
    return OfImage("registry.test/app", DIGEST, found, {"stable": history} if history else {}, labels or {})


MOVED = History("stable", (Move("promote", "", DIGEST, AT, "ann", "ci", ("sha256:" + "e" * 64,)),))
LABELS = {SOURCE_LABEL: "llama.cpp", COMMIT_LABEL: "c" * 40}
IN_IMAGE = Program("api", NAME)

# What runs, what its registry says; each step: whether it is proven, and some of what is said.
CHAINS: list[tuple[Program, OfImage | DeployError | None, list[tuple[str, str, str]]]] = [
    (
        IN_IMAGE,
        image(evidence(), history=MOVED, labels=LABELS),
        [
            ("binaries", "proven", "compiled from llama.cpp at cccccccccccc"),
            ("image", "proven", "1 check passed"),
            ("channel", "proven", "by promote, by 1 pieces"),
        ],
    ),
    (
        IN_IMAGE,
        image(),
        [
            ("binaries", "missing", "does not say"),
            ("image", "missing", "nobody has signed"),
            ("channel", "missing", "no channel stands for"),
        ],
    ),
    (
        IN_IMAGE,
        image(evidence(passed=False), history=History("stable", problem="is gone")),
        [("binaries", "missing", ""), ("image", "against", "health failed"), ("channel", "against", "is gone")],
    ),
    (
        IN_IMAGE,
        SILENT,
        [("binaries", "missing", ""), ("image", "missing", "does not answer"), ("channel", "missing", "not answer")],
    ),
    (Program("api", binary="bin/llama", sha256="b" * 64), None, [("binaries", "proven", "llama.cpp at cccccccccccc")]),
    (Program("api", binary="bin/llama", sha256="a" * 64), None, [("binaries", "missing", "does not know bin/llama")]),
    (Program("api", binary="bin/llama", engine="llama-server 1"), None, [("binaries", "proven", "pinned")]),
    (Program("api", binary="/opt/llama"), None, [("binaries", "missing", "host's own")]),
    (Program("api"), None, []),  # Python of the release, which is its own content
]


@pytest.mark.parametrize(("program", "there", "steps"), CHAINS)
def test_each_step_says_what_is_proven_or_what_would_prove_it(
    program: Program, there: OfImage | DeployError | None, steps: list[tuple[str, str, str]]
) -> None:
    last = of_place("one", [evidence()], (), 0)
    made = links([program], {NAME: there} if there else {}, BUILT, last)
    assert [(each.step, each.state) for each in made] == [
        *((step, state) for step, state, _ in steps),
        ("host", "proven"),
    ]
    for link, (_, _, said) in zip(made, steps, strict=False):
        assert said in link.says
    assert all(each.next for each in made if each.state == "missing")


# What a host has of it: its evidence, what speaks against it, how much is not signed; the step that this is.
PLACES: list[tuple[list[Finding] | DeployError, list[str], int, tuple[str, str]]] = [
    ([evidence()], [], 0, ("proven", "")),
    ([evidence()], ["web runs failed"], 0, ("against", "deploy smoke --sign, where the key is")),
    ([], ["nothing was tried"], 1, ("missing", "deploy evidence sign, where the key is")),
    (
        UsageError("evidence.pub is missing.", next_step="deploy image keys init"),
        [],
        0,
        ("missing", "deploy image keys init"),
    ),
]


@pytest.mark.parametrize(("found", "against", "unsigned", "step"), PLACES)
def test_the_last_step_is_what_the_host_s_own_checks_saw(
    found: list[Finding] | DeployError, against: list[str], unsigned: int, step: tuple[str, str]
) -> None:
    link = of_place("one", found, against, unsigned)
    assert (link.state, link.next) == step


def test_hosts_that_say_the_same_are_one_chain_and_markup_in_it_is_text() -> None:
    def of(host: str, who: str = "ann") -> Any:
        return "stable", "a" * 64, host, (of_place(host, [evidence(who=who)], (), 0),)

    found = [*together([of("one"), of("two"), of(HELL, HELL)])]
    assert [each.hosts for each in found] == [("one", "two"), (HELL,)]
    html = render("evidence.html", "chains", "x", "prod", (found, {}), None)
    assert HELL not in html
    assert "key <code" in html
    assert "2026-11-30" in html
    assert not any(isinstance(each, Chain) and not each.whole for each in found)

"""Hosts whose word about evidence reaches further than what was asked: it goes nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provision.agent import evidence as on_host
from provision.agent.change import Change
from provision.contract.failure import PUT_BACK, Failure
from provision.contract.layout import Layout
from provision.contract.outcome import COMMITTED
from provision.contract.state import Program, State
from provision.errors import UsageError
from provision.images.promotion.evidence import CheckResult, Evidence, signed
from provision.images.promotion.on_hosts import findings_on_hosts
from provision.rollout.proof import Known
from provision.targets.following import declared
from provision.targets.signing import Signing
from tests.images.make import KEY

ASKED, OTHER = 64 * "a", 64 * "b"
DIGEST = "sha256:" + 64 * "1"
HARDWARE = {"hostname": "h", "arch": "x86_64", "cpu": "c", "cores": 1, "memory": 1, "gpus": []}


class Liar:
    """A host that has these answers, and remembers what it is asked to keep."""

    def __init__(self, releases: dict[str, Any]) -> None:
        self.releases = releases
        self.kept: list[dict[str, Any]] = []
        self.conversation = self
        self.spec = SimpleNamespace(name="h")
        project = SimpleNamespace(name="p")
        target = SimpleNamespace(channel_from=None)
        self.deployment = SimpleNamespace(loaded=SimpleNamespace(project=project), target_name="t", target=target)

    def ask(self, request: dict[str, Any], _: type) -> Any:
        if request["op"] == "keep-evidence":
            self.kept.append(request)
        return {"event": "result", "releases": self.releases}


def record(release: str) -> dict[str, Any]:
    check = {"check": "web runs", "passed": True, "seconds": 0.0, "attempts": [], "facts": {}}
    told = {"transaction": f"t-{release}", "kind": "up", "channel": "canary", "release": release, "who": "w"}
    return {**told, "outcome": COMMITTED, "began": 0, "ended": 1, "hardware": HARDWARE, "checks": [check]}


@pytest.fixture
def signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signing:
    monkeypatch.setenv("DEPLOY_SEEN", str(tmp_path / "seen.json"))
    return Signing([KEY.public], KEY)


def test_what_a_host_says_of_a_release_that_it_was_not_asked_about_is_not_signed(signing: Signing) -> None:
    told = {name: {"records": [record(name)], "signed": []} for name in (ASKED, OTHER, "..")}
    host: Any = Liar(told)

    made = signing.sign(host, [ASKED], {})

    assert [evidence.digest for evidence in made] == [f"sha256:{ASKED}"]
    assert {request["release"] for request in host.kept} == {ASKED}


@pytest.mark.parametrize("junk", ["{}", "\ud800", "x" * 5000, "ü"])
def test_what_nobody_signed_counts_for_nothing_and_is_sent_to_no_other_host(signing: Signing, junk: str) -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    ours = signed(Evidence("p", f"sha256:{ASKED}", (CheckResult("web runs", True),), at, "w", "h"), KEY).decode()
    (counted, *_) = findings_on_hosts(ASKED, [junk, ours], [KEY.public])
    known = Known(signing, {"liar": {ASKED: {"records": [], "signed": [junk, ours]}}}, ["p/t/liar"])
    host: Any = Liar({})
    moved: Any = SimpleNamespace(unchanged=False, release=ASKED, rests_on=None, checks=("web runs",))

    assert known.demand(host, moved) == (counted.artifact,)
    assert [request["signed"] for request in host.kept] == [[ours]]


def test_evidence_goes_beside_the_image_that_was_deployed_whatever_the_host_says(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, beside = "registry.example/ours:canary", []
    monkeypatch.setattr("provision.targets.signing.connect", lambda name, write: name)
    monkeypatch.setattr("provision.targets.signing.attest", lambda at, about, *_: beside.append((at, about.digest)))
    told = record(ASKED) | {"images": {name: "sha256:" + 64 * "e"}}
    host: Any = Liar({ASKED: {"records": [told], "signed": []}})
    host.deployment.target = SimpleNamespace(channel_from="registry", image=name)
    host.deployment.loaded.project = SimpleNamespace(name="p", image=None, services={})

    signing.sign(host, [ASKED], {name: DIGEST})

    assert [(str(at), digest) for at, digest in beside] == [(name, DIGEST)]


def test_what_is_larger_than_anybody_reads_is_not_signed(signing: Signing) -> None:
    told = record(ASKED)
    told["checks"][0]["facts"] = {"said": "x" * (4 << 20)}
    host: Any = Liar({ASKED: {"records": [told], "signed": []}})

    with pytest.raises(UsageError, match="is not signed"):
        signing.sign(host, [ASKED], {})
    assert host.kept == []


def test_images_that_a_host_tells_count_where_the_project_declares_their_repository() -> None:
    project: Any = SimpleNamespace(image=None, services={"web": SimpleNamespace(image="registry.example/ours:1")})
    target: Any = SimpleNamespace(image=None)
    told = {
        "registry.example/ours:canary": DIGEST,
        "registry.example/ours:other": "canary",
        "registry.example/theirs:canary": DIGEST,
        "evil.example/ours:canary": DIGEST,
        "no name": DIGEST,
    }

    found = declared(told, project, target)

    assert {str(name): digest for name, digest in found.items()} == {"registry.example/ours:canary": DIGEST}


def test_why_a_program_failed_is_recorded_without_the_secret_that_it_repeats(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    (tmp_path / ".deploy").mkdir()
    web = Program("web", "stable", "", ASKED, "1", "f")
    after = State(channels={"stable": ASKED}, programs={"p-web": web})
    document: Any = {"lanes": {"stable": {"services": [], "checks": []}}}
    change = Change("t", "up", "w", "a", State(), after, [], {ASKED: document}, {"A_PW": "hunter2-hunter2"})

    failed = Failure(PUT_BACK, "web ended.", "It said hunter2-hunter2.", program="p-web")
    on_host.record(layout, change, "stable", 0.0, failed)

    (check,) = on_host.read(layout, [ASKED])[ASKED]["records"][0]["checks"]
    assert check["attempts"] == [["web ended. It said <A_PW>.", 1]]

"""Where a cluster's target requires evidence: what a canary proved, signed, becomes stable; nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.declared import Declared

pytestmark = pytest.mark.slow

REQUIRED = 'require = "evidence"\n'


@pytest.fixture
def small(small: Declared, tmp_path: Path) -> Declared:
    small.environ["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    small.ok("image", "keys", "init")
    small.ok("up")
    return small


def declare(small: Declared, version: str, **more: str) -> None:
    small.write(version, **more)  # type: ignore[arg-type]
    with (small.root / "deploy.toml").open("a") as file:
        file.write(REQUIRED)


def test_what_the_canary_proved_becomes_stable_and_what_nobody_proved_does_not(small: Declared) -> None:
    declare(small, "two")
    past = small.run("up")
    assert past.returncode == 4
    assert "requires evidence: there is no evidence for this digest" in past.stderr, past.stderr
    assert small.versions() == {"one"}

    small.ok("up", "--channel", "canary")
    assert small.run("evidence", "verify", "--channel", "canary").returncode == 0
    small.ok("promote")

    assert small.versions() == {"two"}
    declare(small, "three")
    small.ok("up", "--channel", "canary")
    small.ok("promote")
    small.ok("rollback")  # by what it rested on then
    assert small.versions() == {"two"}


def test_what_others_wrote_is_no_evidence_and_what_is_gone_is_missed(small: Declared) -> None:
    declare(small, "two")
    small.ok("up", "--channel", "canary")
    release = small.event("status")["inventory"]["channels"]["canary"]
    name = f"deploy-{small.name}-{release[:12]}"
    signed = json.loads(json.loads(small.kubectl("get", "configmap", name, "-o", "json"))["data"]["signed"])
    assert len(signed) == 1
    forged = [signed[0].replace('"signatures"', '"forged"')]
    patch = json.dumps({"data": {"signed": json.dumps(forged)}})
    small.kubectl("patch", "configmap", name, "-p", patch)

    refused = small.run("promote")

    assert refused.returncode == 4, refused.stderr
    assert small.versions() == {"one"}
    assert small.run("evidence", "verify", "--channel", "canary").returncode == 4


def test_a_canary_that_was_deployed_without_the_key_is_proven_where_the_key_is(small: Declared) -> None:
    declare(small, "two")
    here = small.environ.pop("XDG_CONFIG_HOME")
    small.environ["XDG_CONFIG_HOME"] = f"{here}-other"
    done = small.run("up", "--channel", "canary")
    assert done.returncode == 0
    assert "deploy smoke --channel canary --sign" in done.stderr
    assert small.run("promote").returncode == 4
    small.environ["XDG_CONFIG_HOME"] = here

    small.ok("smoke", "--channel", "canary", "--sign")

    small.ok("promote")
    assert small.versions() == {"two"}

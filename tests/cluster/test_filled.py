"""Secrets of `.env` in a cluster: they come with an `up`, start what reads them anew, and are told to nobody."""

from __future__ import annotations

import json

import pytest

from tests.cluster.declared import Declared

pytestmark = pytest.mark.slow

_SECRETS = 'secrets = ["STATUS"]\nsecret_files = ["TOKEN"]\n'


def _known(small: Declared, **values: str) -> None:
    (small.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def _made(small: Declared) -> dict[str, str]:
    """The Secrets that were made for the service -> what their TOKEN is, in base64."""
    found = json.loads(small.kubectl("get", "secrets", "-o", "json"))["items"]
    ours = [each for each in found if each["metadata"]["name"].startswith("web-secrets-")]
    return {each["metadata"]["name"]: each["data"]["TOKEN"] for each in ours}


def test_a_new_value_starts_pods_anew_and_what_fails_has_the_old_one_again(small: Declared) -> None:
    small.write(more=_SECRETS)
    _known(small, STATUS="200", TOKEN="hunter-one")
    said = small.ok("plan") + small.ok("up")
    (first,) = _made(small)
    assert "create   Secret web-secrets-" in said
    assert small.event("plan")["unchanged"]
    assert small.event("up")["outcome"] == "unchanged"

    _known(small, STATUS="500", TOKEN="hunter-two")  # its check fails by that
    failed = small.run("up", "--json")
    assert failed.returncode == 1, failed.stdout
    assert set(_made(small)) == {first}
    assert small.event("status")["state"] == "serving"

    _known(small, STATUS="200", TOKEN="hunter-two")
    said += failed.stdout + small.ok("plan") + small.ok("up", "--json")
    (second,) = _made(small)
    assert second != first
    assert small.event("status")["state"] == "serving"
    kept = small.kubectl("get", "configmaps,deployments", "-o", "yaml") + small.ok("history", "--json")
    for text in (said, kept):
        assert "hunter" not in text
        assert not set(_made(small).values()) & set(text.split('"'))


def test_whoever_does_not_know_the_values_deploys_with_those_that_are_there(small: Declared) -> None:
    small.write(more=_SECRETS)
    assert "Secret web-secrets has no STATUS, TOKEN" in small.run("up").stderr
    _known(small, STATUS="200", TOKEN="hunter")
    small.ok("up")
    (first,) = _made(small)
    small.write("two", more=_SECRETS)
    (small.root / ".env").unlink()

    small.ok("up", "--channel", "canary")
    assert set(_made(small)) == {first}
    small.ok("promote")
    assert small.versions() == {"two"}
    small.ok("rollback")

    assert small.versions() == {"one"}
    assert set(_made(small)) == {first}
    small.ok("smoke")
    small.ok("down")
    assert not _made(small)


def test_a_secret_that_somebody_made_is_left_to_them_and_used(small: Declared) -> None:
    small.kubectl("create", "secret", "generic", "web-secrets", "--from-literal=STATUS=200", "--from-literal=TOKEN=a")
    small.write(more=_SECRETS)
    _known(small, STATUS="500", TOKEN="b")

    small.ok("up")

    assert not _made(small)
    small.ok("down")
    assert "web-secrets" in small.names("secret")


def test_a_secret_that_somebody_removed_is_drift_and_the_next_up_makes_it(small: Declared) -> None:
    small.write(more=_SECRETS)
    _known(small, STATUS="200", TOKEN="hunter")
    small.ok("up")
    (first,) = _made(small)
    small.kubectl("delete", "secret", first)

    assert f"Secret {first}: it is gone" in small.event("status")["drift"]
    small.ok("up")
    assert len(_made(small)) == 1
    assert small.event("status")["state"] == "serving"


def test_who_knows_some_of_the_values_brings_those_and_leaves_the_others(small: Declared) -> None:
    """Else a value that was changed would not come, and nobody be told."""
    small.write(more=_SECRETS)
    _known(small, STATUS="200", TOKEN="hunter-one")
    small.ok("up")
    (first,) = _made(small).values()
    _known(small, TOKEN="hunter-two")

    small.ok("up")

    (second,) = _made(small).values()
    assert second != first
    assert small.event("status")["state"] == "serving"


def test_a_batch_that_reads_a_new_value_is_another_job(small: Declared) -> None:
    batch = f'[services.load]\nimage = "{small.image}"\ncommand = ["/web", "8000"]\nbatch = true\nsecrets = ["TOKEN"]\n'
    small.write(more=batch)
    _known(small, TOKEN="hunter-one")
    small.ok("up")
    (first,) = small.names("job")
    assert small.event("up")["outcome"] == "unchanged"
    _known(small, TOKEN="hunter-two")

    small.ok("up")

    (second,) = small.names("job")
    assert second != first
    assert small.event("status")["drift"] == []


def test_a_rollback_to_what_read_another_secret_says_how_and_then_goes(small: Declared) -> None:
    small.write(more='secrets = ["STATUS", "OLD"]\n')
    _known(small, STATUS="200", OLD="a")
    small.ok("up")
    small.write("two", more='secrets = ["STATUS"]\n')
    small.ok("up")

    refused = small.run("rollback")

    assert refused.returncode == 4
    assert "Secret web-secrets has no OLD, STATUS" in refused.stderr
    small.kubectl("create", "secret", "generic", "web-secrets", "--from-literal=STATUS=200", "--from-literal=OLD=a")
    small.ok("rollback")
    assert small.versions() == {"one"}


def test_a_value_that_no_secret_holds_is_refused_before_anything_changes(small: Declared) -> None:
    small.ok("up")
    small.write("two", more=_SECRETS)
    most = 1 << 20
    _known(small, STATUS="200", TOKEN="a" * (most - 2))

    planned, refused = small.run("plan"), small.run("up")

    said = f"TOKEN has {most - 2} bytes, and a Secret holds {most} in all"
    for done in (planned, refused):
        assert done.returncode == 4, done.stdout + done.stderr
        assert said in done.stdout + done.stderr
        assert "aaaa" not in done.stdout + done.stderr
    assert small.versions() == {"one"}
    assert not _made(small)
    _known(small, STATUS="200", TOKEN="a" * (most - 3))
    small.ok("up")  # what fits to the byte
    assert small.versions() == {"two"}

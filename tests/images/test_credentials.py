"""Who we are to a registry, as `docker login` left it."""

import base64
import json
import stat

import pytest

from provision.errors import UsageError
from provision.images.registry.credentials import Credentials, find


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def config(environ, **content) -> str:
    from pathlib import Path

    file = Path(environ["DOCKER_CONFIG"]) / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return str(file)


def helper(environ, tmp_path, script: str) -> None:
    program = tmp_path / "bin" / "docker-credential-vault"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environ["PATH"] = f"{program.parent}:/usr/bin:/bin"


def test_nobody_logged_in(environ):
    assert find("r.example", own_token=True, environ=environ) is None


ENTRIES = [
    ("r.example", {"r.example": {"auth": encoded("ada:pass:with:colons")}}, ("ada", "pass:with:colons")),
    ("r.example", {"https://r.example/v1/": {"auth": encoded("ada:p")}}, ("ada", "p")),
    ("docker.io", {"https://index.docker.io/v1/": {"auth": encoded("ada:p")}}, ("ada", "p")),
    ("r.example", {"r.example": {"username": "ada", "password": "p"}}, ("ada", "p")),
    ("r.example", {"r.example": {"auth": encoded("ada:"), "identitytoken": "it"}}, ("", "it")),
    ("r.example", {"other.example": {"auth": encoded("eve:p")}}, None),
    ("r.example", {"r.example": {}}, None),
]


@pytest.mark.parametrize(("registry", "auths", "found"), ENTRIES)
def test_the_file_of_docker_login_is_read(environ, registry, auths, found):
    file = config(environ, auths=auths)
    assert find(registry, own_token=True, environ=environ) == (Credentials(*found, file) if found else None)


def test_a_helper_is_asked_for_the_registry_and_its_answer_used(environ, tmp_path):
    config(environ, credHelpers={"r.example": "vault"})
    helper(environ, tmp_path, '[ "$(cat)" = r.example ] && echo \'{"Username": "ada", "Secret": "from helper"}\'')
    found = find("r.example", own_token=True, environ=environ)
    assert found == Credentials("ada", "from helper", "docker-credential-vault")


def test_a_helper_may_keep_identity_tokens(environ, tmp_path):
    config(environ, credsStore="vault")
    helper(environ, tmp_path, 'echo \'{"Username": "<token>", "Secret": "it"}\'')
    assert find("r.example", own_token=True, environ=environ).user == ""


def test_a_registry_that_the_helper_does_not_know_is_looked_up_in_the_file(environ, tmp_path):
    config(environ, credsStore="vault", auths={"r.example": {"auth": encoded("ada:p")}})
    helper(environ, tmp_path, "echo credentials not found in native keychain; exit 1")
    assert find("r.example", own_token=True, environ=environ).secret == "p"


BROKEN = [
    ("echo locked; exit 1", "locked"),
    ("echo 'secret-in-the-wrong-form'", "not with a user and a secret"),
]


@pytest.mark.parametrize(("script", "said"), BROKEN)
def test_a_helper_that_fails_is_named_and_its_answer_not_shown(environ, tmp_path, script, said):
    config(environ, credsStore="vault")
    helper(environ, tmp_path, script)
    with pytest.raises(UsageError) as refusal:
        find("r.example", own_token=True, environ=environ)
    assert "docker-credential-vault" in str(refusal.value)
    assert said in str(refusal.value)
    assert "secret-in-the-wrong-form" not in str(refusal.value)


def test_a_helper_that_is_not_installed_is_named(environ):
    config(environ, credsStore="nowhere")
    with pytest.raises(UsageError, match="docker-credential-nowhere is not installed"):
        find("r.example", own_token=True, environ=environ)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_is_not_docker_s_is_named(environ, content):
    from pathlib import Path

    file = config(environ)
    Path(file).write_text(content)
    with pytest.raises(UsageError, match="cannot be read"):
        find("r.example", own_token=True, environ=environ)


def test_registry_token_is_for_the_registry_that_is_written_to(environ):
    environ |= {"REGISTRY_TOKEN": "t", "REGISTRY_USER": "ada"}
    assert find("ghcr.io", own_token=True, environ=environ).basic == "Basic " + encoded("ada:t")
    assert find("ghcr.io", own_token=False, environ=environ) is None


def test_registry_host_says_which_registry_the_token_is_for(environ):
    environ |= {"REGISTRY_TOKEN": "t", "REGISTRY_HOST": "ghcr.io"}
    assert find("ghcr.io", own_token=False, environ=environ).secret == "t"
    assert find("r.example", own_token=True, environ=environ) is None


def test_a_secret_is_not_in_what_debuggers_and_logs_print():
    assert "hush" not in repr(Credentials("ada", "hush", "file"))

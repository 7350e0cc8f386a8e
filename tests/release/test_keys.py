"""Hole 4: private keys that lie in the project's folder are not shipped unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.release.projects import paths, released, write

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n"
OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"

KEYS = {
    "id_ed25519": OPENSSH,
    "keys/id_rsa.old": PEM,
    "deploy_key": OPENSSH,
    "tls/server.pem": CERTIFICATE + PEM,
    "tls/server.key": PEM.replace("RSA ", "ENCRYPTED "),
    "gcp.json": '{"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE"}',
    "putty.ppk": "PuTTY-User-Key-File-3: ssh-ed25519\n",
    "age.key": "# created: today\nAGE-SECRET-KEY-1QQQ\n",
    "store.p12": "0",
}
NO_KEYS = {
    "id_ed25519.pub": "ssh-ed25519 AAAA",
    "tls/ca.pem": CERTIFICATE,
    "id_card.png": "a picture",
    "licence.key": "XXXX-YYYY",
    "README": "how to make a private key",
    "server.py": f"EXAMPLE = '''{PEM}'''",
}


def test_private_keys_stay_here_and_each_is_named_with_the_way_to_ship_it(tmp_path: Path) -> None:
    write(tmp_path, {**KEYS, **NO_KEYS})

    release = released(tmp_path)

    assert set(paths(release)) == set(NO_KEYS)
    assert sorted(release.warnings) == sorted(
        f'not shipped: {path} is a private key; to ship it on purpose: [project] include = ["/{path}"]' for path in KEYS
    )


def test_a_key_that_is_named_is_shipped(tmp_path: Path) -> None:
    write(tmp_path, KEYS)

    release = released(tmp_path, include=["/tls/server.key", "deploy_key"])

    assert paths(release) == ["deploy_key", "tls/server.key"]


@pytest.mark.parametrize("identity", ["keys/vast.txt", "./keys/vast.txt", "{root}/keys/vast.txt"])
def test_what_opens_a_target_stays_here_whatever_it_is_called(identity: str, tmp_path: Path) -> None:
    write(tmp_path, {"keys/vast.txt": "of a kind that nobody knows", "keys/other.txt": ""})

    release = released(tmp_path, target={"identity": identity.format(root=tmp_path)})

    assert paths(release) == ["keys/other.txt"]
    assert release.warnings == (
        'not shipped: keys/vast.txt opens a target; to ship it on purpose: [project] include = ["/keys/vast.txt"]',
    )


def test_a_rotated_secret_makes_no_new_release_and_another_text_around_it_does(tmp_path: Path) -> None:
    from provision.project import load
    from provision.release import build

    def release_id(password: str, user: str = "u") -> str:
        write(
            tmp_path,
            {
                "deploy.toml": '[project]\nname = "cres"\n[services.web]\ncommand = ["a"]\nsecrets = ["PW"]\n'
                f'env = {{ URL = "{user}:${{PW}}@h" }}\n[prepare]\ncommand = ["make"]\n'
                f'env = {{ INDEX = "https://{user}:${{PW}}@i" }}\n[targets.there]\nhosts = ["h"]\npath = "/srv/cres"\n',
                ".env": f"PW={password}\n",
            },
        )
        release = build(load(tmp_path, environ={}).project, "there", tmp_path)
        assert password not in str(release)
        return release.id

    assert release_id("sekret-1") == release_id("sekret-2") != release_id("sekret-2", "other")

"""Hole 4: private keys that lie in the project's folder are not shipped unless somebody says so."""

from __future__ import annotations

import base64
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
    "signing.p8": PEM,
    "android.pk8": "0",
    "tls/server.key.bak": PEM,
    "tls/server.PEM.old~": PEM,
    "notes.txt": f"to log in:\n{OPENSSH}",
    "vpn/laptop.ovpn": f"client\n<key>\n{PEM}</key>\n",
    "vpn/wg0.conf": f"[Interface]\nPrivateKey = {'Ab1+' * 10}AAA=\n",
    "kube.yaml": "users:\n- user:\n    client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt\n",
    "secret.yml": f"data:\n  tls.key: {base64.b64encode(PEM.encode()).decode()}\n",
}
NO_KEYS = {
    "id_ed25519.pub": "ssh-ed25519 AAAA",
    "tls/ca.pem": CERTIFICATE,
    "id_card.png": "a picture",
    "licence.key": "XXXX-YYYY",
    "README": "how to make a private key",
    "cluster.yaml": f"caBundle: {base64.b64encode(CERTIFICATE.encode()).decode()}\n",
    "wg0.conf.example.conf": "PrivateKey = <yours>\n",
    "web/.npmrc": "//registry.example/:_authToken=${NPM_TOKEN}\n",
    "server.py": f"EXAMPLE = '''{PEM}'''",
}


def test_private_keys_stay_here_and_each_is_named_with_the_way_to_ship_it(tmp_path: Path) -> None:
    write(tmp_path, {**KEYS, **NO_KEYS})

    release = released(tmp_path)

    assert set(paths(release)) == set(NO_KEYS)
    assert sorted(release.warnings) == sorted(
        f'not shipped: {path} is a private key; to ship it on purpose: [project] include = ["/{path}"]' for path in KEYS
    )


def test_files_of_passwords_stay_here_where_there_is_one_in_them(tmp_path: Path) -> None:
    files = {
        ".netrc": "machine h\nlogin u\npassword p\n",
        ".npmrc": "//h/:_authToken=npm_1\n",
        ".pgpass": "h:1:d:u:p\n",
    }
    write(tmp_path, {**files, "other/.netrc": "machine h\nlogin u\n", "other/.pgpass": "# nothing yet\n"})

    release = released(tmp_path)

    assert set(paths(release)) == {"other/.netrc", "other/.pgpass"}
    assert all("holds a password; to ship it on purpose" in warning for warning in release.warnings)
    assert len(release.warnings) == len(files)


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


@pytest.mark.parametrize(
    ("declared", "platform", "format_"),
    [
        ('env = { URL = "u:pw@h" }\n[prepare]\ncommand = ["make"]\nsecrets = ["PW"]\n', "docker", 1),
        ('secrets = ["PW"]\nenv = { URL = "u:${PW}@h" }\n', "supervisord", 1),
        ('secrets = ["PW"]\n[prepare]\ncommand = ["make"]\nenv = { URL = "u:${PW}@h" }\n', "supervisord", 2),
        ('secrets = ["PW"]\nenv = { URL = "u:${PW}@h" }\n', "docker", 2),
    ],
)
def test_an_older_version_does_not_roll_back_to_variables_that_it_would_leave_out(
    declared: str, platform: str, format_: int, tmp_path: Path
) -> None:
    """Hole 4."""
    from provision.project import load
    from provision.release import build

    head = f'[project]\nname = "cres"\n[services.web]\ncommand = ["a"]\nimage = "x@sha256:{"0" * 64}"\n'
    there = f'[targets.there]\nhosts = ["h"]\npath = "/srv/cres"\nplatform = "{platform}"\n'
    write(tmp_path, {"deploy.toml": f"{head}{declared}{there}", ".env": "PW=sekret\n"})

    assert build(load(tmp_path, environ={}).project, "there", tmp_path).document["format"] == format_

"""Keys and envelopes: what counts as signed, and what never leaves the key's file."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.images.promotion.signing import NotSigned, generate, read_private, read_public, unseal

TYPE = "application/example"


@pytest.fixture
def pair(tmp_path):
    private, public = tmp_path / "keys" / "k.key", tmp_path / "k.pub"
    generate(private, public)
    return private, public


def _keys(pair):
    return read_private(pair[0].read_text(), "k"), read_public(pair[1])


@given(payload=st.binary(max_size=200), kind=st.text(max_size=30))
def test_what_was_sealed_comes_back_as_the_same_bytes(payload, kind):
    key = _signing_key()
    assert unseal(key.seal(kind, payload), kind, [key.public]) == (payload, key.public)


def _signing_key():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from provision.images.promotion.signing import SigningKey

    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_openssl_agrees_with_the_signature(tmp_path, pair):
    """Over what the specification says is signed, spelled out by hand."""
    key, _ = _keys(pair)
    envelope = json.loads(key.seal(TYPE, b"hello"))
    (tmp_path / "signed").write_bytes(b"DSSEv1 19 application/example 5 hello")
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    done = subprocess.run(
        [
            *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", pair[1]),
            *("-rawin", "-in", tmp_path / "signed", "-sigfile", tmp_path / "signature"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _changed(envelope, **values):
    return json.dumps({**json.loads(envelope), **values}).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda e: _changed(e, payload=base64.b64encode(b"other").decode()), "not signed by a trusted key"),
        (lambda e: _changed(e, payloadType="application/other"), "is signed as application/other"),
        (lambda e: _changed(e, signatures=[]), "not signed by a trusted key"),
        (lambda e: _changed(e, signatures=[{"keyid": "k", "sig": "AAAA"}]), "not signed by a trusted key"),
        (lambda e: _changed(e, signatures="no"), "is not a signed document"),
        (lambda e: _changed(e, payload="%%%"), "is not a signed document"),
        (lambda e: b"[]", "is not a signed document"),
        (lambda e: b"\xff\xfe", "is not a signed document"),
    ],
)
def test_an_envelope_that_was_changed_is_not_signed(change, why):
    key = _signing_key()
    with pytest.raises(NotSigned, match=why):
        unseal(change(key.seal(TYPE, b"hello")), TYPE, [key.public])


def test_only_trusted_keys_count(tmp_path, pair):
    key, trusted = _keys(pair)
    generate(tmp_path / "other.key", tmp_path / "other.pub")
    others = read_public(tmp_path / "other.pub")
    sealed = key.seal(TYPE, b"hello")
    with pytest.raises(NotSigned, match="not signed by a trusted key"):
        unseal(sealed, TYPE, others)
    with pytest.raises(NotSigned):
        unseal(sealed, TYPE, [])
    assert unseal(sealed, TYPE, [*others, *trusted])[1].id == key.public.id


def test_a_file_may_hold_two_keys_while_one_takes_over(tmp_path, pair):
    generate(tmp_path / "next.key", tmp_path / "next.pub")
    pair[1].write_bytes(b"# ours\n" + pair[1].read_bytes() + (tmp_path / "next.pub").read_bytes())
    assert len(read_public(pair[1])) == 2


def test_the_secret_half_is_its_owner_s_alone_and_is_never_overwritten(tmp_path, pair):
    assert pair[0].stat().st_mode & 0o777 == 0o600
    assert pair[0].parent.stat().st_mode & 0o777 == 0o700
    before = pair[0].read_bytes()
    for private, public in ((pair[0], tmp_path / "new.pub"), (tmp_path / "new.key", pair[1])):
        with pytest.raises(UsageError, match="exists"):
            generate(private, public)
    assert pair[0].read_bytes() == before
    assert not (tmp_path / "new.key").exists()


@pytest.mark.parametrize("arguments", [["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], ["X25519"]])
def test_keys_of_another_kind_are_refused_by_name(arguments, tmp_path):
    private, public = tmp_path / "k.key", tmp_path / "k.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", *arguments, "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    with pytest.raises(UsageError, match="THE_KEY does not hold an Ed25519 private key"):
        read_private(private.read_text(), "THE_KEY")
    with pytest.raises(UsageError, match=r"has to hold Ed25519 public keys"):
        read_public(public)


def test_what_is_no_key_is_not_shown(tmp_path):
    with pytest.raises(UsageError) as refusal:
        read_private("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", "THE_KEY")
    assert "c2VjcmV0" not in str(refusal.value)
    broken = tmp_path / "broken.pub"
    broken.write_text("-----BEGIN PUBLIC KEY-----\nxxxx\n-----END PUBLIC KEY-----\n")
    with pytest.raises(UsageError, match="cannot be read as public keys"):
        read_public(broken)
    with pytest.raises(UsageError, match="is missing") as refusal:
        read_public(tmp_path / "none.pub")
    assert "deploy image keygen" in refusal.value.next_step

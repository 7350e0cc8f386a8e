"""Signed documents: Ed25519 over a DSSE envelope.

The envelope (secure-systems-lab/dsse, protocol 1.0.2) signs the type together with the bytes, so that no document
passes for one of another kind, and carries the bytes as they were signed: nothing has to be written the same way twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from provision.errors import UsageError
from provision.images.registry.documents import read_json

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----")

_VARIABLE = "DEPLOY_EVIDENCE_KEY"


class NotSigned(Exception):
    """An envelope that no trusted key signed. Its message ends the sentence "it …"."""


@dataclass(frozen=True)
class PublicKey:
    """Whose signature counts."""

    key: Ed25519PublicKey

    @property
    def id(self) -> str:
        """Names the key; it is looked at by people and decides nothing."""
        return hashlib.sha256(self.key.public_bytes_raw()).hexdigest()[:16]

    def write(self, file: Path) -> None:
        """Put it into a file of its own.

        Raises:
            UsageError: that does not work.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        except OSError as error:
            raise UsageError(f"{file} cannot be written.", why=str(error.strerror)) from None


@dataclass(frozen=True)
class SigningKey:
    """Who signs."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def seal(self, payload_type: str, payload: bytes) -> bytes:
        """An envelope with `payload` in it."""
        signature = {"keyid": self.public.id, "sig": _text(self.key.sign(_encoded(payload_type, payload)))}
        envelope = {"payload": _text(payload), "payloadType": payload_type, "signatures": [signature]}
        return json.dumps(envelope, sort_keys=True).encode()


def unseal(envelope: bytes, payload_type: str, trusted: Sequence[PublicKey]) -> tuple[bytes, PublicKey]:
    """What is in an envelope, and who signed it.

    Raises:
        NotSigned: nobody of `trusted` signed it as a `payload_type`.
    """
    try:
        document = read_json(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        signatures = [base64.b64decode(item["sig"], validate=True) for item in document["signatures"]]
        signed_as = str(document["payloadType"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise NotSigned("is not a signed document") from None
    if signed_as != payload_type:
        raise NotSigned(f"is signed as {signed_as}, not as {payload_type}")
    for key in trusted:
        for signature in signatures:
            try:
                key.key.verify(signature, _encoded(payload_type, payload))
            except InvalidSignature:
                continue
            return payload, key
    raise NotSigned("is not signed by a trusted key")


def generate(private: Path, public: Path) -> PublicKey:
    """Make a key: the private half in `private`, readable by its owner alone, the public half in `public`.

    Raises:
        UsageError: one of the files is there; a key is never overwritten.
    """
    for file in (private, public):
        if file.exists():
            raise UsageError(
                f"{file} exists.",
                why="A lost key cannot be made again, so none is overwritten.",
                next_step="name other files with --private and --public, or move it away",
            )
    made = SigningKey(Ed25519PrivateKey.generate())
    pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(private, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
            stream.write(pem)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written.", why=str(error.strerror)) from None
    made.public.write(public)
    return made.public


def read_private(text: str, source: str) -> SigningKey:
    """A private key of its PEM text; `source` says where that came from.

    Raises:
        UsageError: it is none. Nothing of the text is shown.
    """
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{source} does not hold an Ed25519 private key without a passphrase.", next_step="deploy image keygen"
        )
    return SigningKey(key)


def default_private() -> Path:
    """Where the secret half is on a person's machine."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "bitnet-provision" / "evidence.key"


def own_key(private: Path | None) -> SigningKey:
    """The key to sign with: in the file `private`, else DEPLOY_EVIDENCE_KEY, else where `keygen` put it.

    Raises:
        UsageError: there is none.
    """
    if private is None and os.environ.get(_VARIABLE):
        return read_private(os.environ[_VARIABLE], _VARIABLE)
    file = private or default_private()
    try:
        return read_private(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no key to sign with: {file} cannot be read.",
            why=str(getattr(error, "strerror", None) or error),
            next_step=f"deploy image keygen, or set {_VARIABLE}",
        ) from None


def read_public(file: Path) -> list[PublicKey]:
    """The keys in a file of PEM blocks; several, while one takes over from another.

    Raises:
        UsageError: there are none.
    """
    try:
        keys = [load_pem_public_key(block) for block in _PEM.findall(file.read_bytes())]
    except FileNotFoundError:
        raise UsageError(
            f"{file} is missing.",
            why="It holds the public keys whose evidence counts.",
            next_step="deploy image keygen, and commit the public half",
        ) from None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{file} cannot be read as public keys.", why=str(error)) from None
    found = [PublicKey(key) for key in keys if isinstance(key, Ed25519PublicKey)]
    if not found or len(found) != len(keys):
        raise UsageError(f"{file} has to hold Ed25519 public keys and no others.", next_step="deploy image keygen")
    return found


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """What is signed; the specification calls it PAE."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()

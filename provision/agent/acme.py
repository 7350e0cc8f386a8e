"""Certificates that a host gets by itself: what has to be there before anybody is asked, and how one is asked for.

All of it lies in a folder of the front's that is this account's alone: the account's key, a key and a certificate for
each service in one file, as HAProxy reads them. Until an authority has answered, a service shows one that it signed
itself, which no client believes. OpenSSL's program makes keys and requests, as the client (acme-tiny) has it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Dict, List, NamedTuple, NoReturn, Sequence

from ..contract.acme import TRIED, Tried
from ..contract.failure import FAILED, Failure
from ..contract.layout import ACME_CLIENT, Layout
from . import files, openssl

if TYPE_CHECKING:
    from ..contract.release import AcmeDocument

_KEY = "account.key"
_ANSWER = "answer"
_ASK_SECONDS = 300.0
_PLACEHOLDER_DAYS = "30"
_SAID = 400  # characters of what an authority says
_LARGEST = 60_000  # bytes of a chain
_LARGEST_NOTES = 1 << 20  # bytes
_LATEST = 1 << 33  # seconds since 1970: what is later is no time
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?")


class Certificate(NamedTuple):
    """One that was given."""

    content: str  # its chain and its key
    since: float
    until: float


def prepare(layout: Layout, declared: AcmeDocument) -> None:
    """Let there be an account's key, what HAProxy answers by, and for each service something that it can show.

    Raises:
        Failure: the host has no OpenSSL.
    """
    files.make_folder(layout.traffic, 0o700)
    if os.path.islink(layout.acme):  # what is put there is not put where somebody leads it
        files.discard(layout.acme)
    files.make_folder(layout.acme, 0o700)
    key = os.path.join(layout.acme, _KEY)
    if not os.path.exists(key):
        files.write(key, _openssl("genrsa", "2048"), 0o600)
    # Of the path /.well-known/acme-challenge/TOKEN, as HAProxy puts it together.
    files.write_if_other(os.path.join(layout.acme, _ANSWER), f"%[path,field(4,/)].{_thumbprint(key)}", 0o600)
    for service, names in declared["names"].items():
        if not os.path.exists(layout.certificate(service)):
            files.write(layout.certificate(service), _own(layout, names), 0o600)


def tried(layout: Layout) -> Dict[str, Tried]:
    """What became of the last tries, as far as it can have been: in a container others than us may write there."""
    said = files.read_plain_json(os.path.join(layout.acme, TRIED), _LARGEST_NOTES)
    return {name: each for name, each in said.items() if _can_be(each)} if isinstance(said, dict) else {}


def _can_be(said: object) -> bool:
    """Whether it is what `note` writes of a service."""
    if not isinstance(said, dict) or not said.keys() >= Tried.__annotations__.keys():
        return False
    lists = [said["names"], said["asked"]]
    times = [said["since"], said["until"], said["again"], said["failures"]]
    return (
        all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in lists)
        and all(isinstance(said[each], str) for each in ("directory", "failed", "release"))
        and all(isinstance(each, (int, float)) and 0 <= each <= _LATEST for each in times)
    )


def note(layout: Layout, service: str, became: Tried) -> None:
    """Write down what became of a try."""
    files.write_json(os.path.join(layout.acme, TRIED), {**tried(layout), service: became}, 0o600)


def ask(layout: Layout, declared: AcmeDocument, service: str, agent: str) -> Certificate:
    """A new certificate for a service's names, with a new key.

    Raises:
        Failure: the authority gives none; says what it said.
    """
    with tempfile.TemporaryDirectory(dir=layout.acme, prefix=".asked-") as folder:
        key, request = os.path.join(folder, "key"), os.path.join(folder, "request")
        files.write(key, _openssl("genpkey", "-algorithm", "EC", *openssl.CURVE), 0o600)
        files.write(request, _openssl("req", "-new", "-key", key, *_named(declared["names"][service])))
        client = os.path.join(layout.agents, agent, "deploy_agent", ACME_CLIENT)
        words = [sys.executable, "-I", "-S", client, "--disable-check", "--directory-url", declared["directory"]]
        words += ["--account-key", os.path.join(layout.acme, _KEY), "--csr", request, "--acme-dir", folder]
        words += ["--contact", f"mailto:{declared['email']}"] if declared["email"] else []
        chain = "".join(_PEM.findall(_client(words, declared["ca"])))
        if not chain or len(chain) > _LARGEST:
            _refuse("what it gave is no certificate")
        given = os.path.join(folder, "given")
        files.write(given, chain)
        if _openssl("x509", "-in", given, "-noout", "-pubkey") != _openssl("pkey", "-in", key, "-pubout"):
            _refuse("what it gave is for another key")
        since, until = (
            float(ssl.cert_time_to_seconds(line.partition("=")[2]))
            for line in _openssl("x509", "-in", given, "-noout", "-startdate", "-enddate").splitlines()
        )
        with open(key, encoding="ascii") as stream:
            return Certificate(chain + stream.read(), since, until)


def _client(words: Sequence[str], ca: str) -> str:
    """What it writes."""
    variables = {"PATH": os.environ.get("PATH", os.defpath), **({"SSL_CERT_FILE": ca} if ca else {})}
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _refuse(f"it took longer than {_ASK_SECONDS:.0f} s")
    if done.returncode:
        _refuse(_why(done.stderr.decode("utf-8", "replace")))
    return done.stdout.decode("ascii", "replace")


def _why(said: str) -> str:
    """What an authority says is wrong, out of all that its client does."""
    details = re.findall(r"""['"]detail['"]: (?:'([^']*)'|"([^"]*)")""", said)
    lines = said.strip().splitlines()
    found = "; ".join(dict.fromkeys("".join(each) for each in details)) or (lines[-1] if lines else "it says nothing")
    return "".join(each if each.isprintable() else " " for each in found)[:_SAID]


def _refuse(why: str) -> NoReturn:
    raise Failure(FAILED, "no certificate was given.", f"{why.rstrip('.')}.", next_step="deploy doctor")


def _thumbprint(key: str) -> str:
    """RFC 7638, of an RSA key with OpenSSL's usual exponent."""
    modulus = bytes.fromhex(_openssl("rsa", "-in", key, "-noout", "-modulus").strip().partition("=")[2])
    public = {"e": "AQAB", "kty": "RSA", "n": _text(modulus)}
    return _text(hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _own(layout: Layout, names: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(dir=layout.acme, prefix=".asked-") as folder:
        key = os.path.join(folder, "key")
        made = ["-x509", "-newkey", "ec", *openssl.CURVE, "-nodes", "-keyout", key, "-days", _PLACEHOLDER_DAYS]
        chain = _openssl("req", *made, *_named(names))
        with open(key, encoding="ascii") as stream:
            return chain + stream.read()


def _named(names: Sequence[str]) -> List[str]:
    return ["-subj", "/", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]


def _openssl(*words: str) -> str:
    return openssl.run('tls = "auto"', *words)

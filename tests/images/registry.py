"""A registry: plain on loopback, behind htpasswd, or with TLS by its own authority.

Debian's docker-registry, which serves no referrers route; or, with `referrers`, one that has it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.images import distribution

NAME = "registry.test"  # what the certificate is for, besides its address; no resolver knows it
USER, PASSWORD = "ada", "a:b c%ü"  # a colon and what URLs would escape


@dataclass
class Registry:
    """One that runs."""

    authority: str
    folder: Path
    process: subprocess.Popen[bytes]
    environ: dict[str, str] = field(default_factory=dict)  # what a client needs to be let in
    referrers: bool = False  # whether it lists them itself

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def registry(folder: Path, *, login: bool = False, tls: bool = False, referrers: bool = False) -> Iterator[Registry]:
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},  # as in the configuration that it comes with
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    environ = {"DOCKER_CONFIG": str(folder / "docker")}
    if login:
        (folder / "htpasswd").write_bytes(USER.encode() + b":" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)))
        config["auth"] = {"htpasswd": {"realm": 'a "quoted" realm', "path": str(folder / "htpasswd")}}
        environ |= {"REGISTRY_USER": USER, "REGISTRY_TOKEN": PASSWORD}
    if tls:
        certificate, key = _authority_and_server(folder)
        config["http"] = {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(certificate), "key": str(key)}}
        environ["REGISTRY_CA"] = str(folder / "ca.crt")
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    serve = [sys.executable, distribution.__file__] if referrers else ["docker-registry", "serve"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*serve, folder / "config.yml"], stdout=log, stderr=log)
    found = Registry(f"127.0.0.1:{port}", folder, process, environ, referrers)
    try:
        _wait(found)
        yield found
    finally:
        found.stop()


def _wait(found: Registry) -> None:
    deadline = time.monotonic() + 20
    host, port = found.authority.split(":")
    while time.monotonic() < deadline:
        if found.process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the registry did not start:\n" + (found.folder / "log").read_text())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _authority_and_server(folder: Path) -> tuple[Path, Path]:
    now = dt.datetime.now(dt.UTC)

    def certificate(name: str, public: ec.EllipticCurvePublicKey, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        certificate("our authority", ca_key.public_key(), "our authority")
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        certificate("registry", key.public_key(), "our authority")
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName(NAME)]),
            critical=False,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.crt").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "server.crt", folder / "server.key"

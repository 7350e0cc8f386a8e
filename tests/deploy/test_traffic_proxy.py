"""Strangers come in by a service's `proxy`: real HAProxy, real supervisors, curl on the host itself."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provision.errors import DeployError
from provision.rollout.doctor import doctor
from tests.deploy.visitors import behind_a_front
from tests.deploy.world import World, web
from tests.faults.hooks import until


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def _certificate(world: World, name: str, days: int = 2) -> dict[str, str]:
    """Chain and key apart, and the key for its owner alone, as ACME clients leave them."""
    key, chain = (f"/etc/ssl/{world.name}-{name}.{kind}" for kind in ("key", "pem"))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", str(days)]
    world.host.exec([*words, *names, "-keyout", key, "-out", chain])
    world.host.exec(["chmod", "600", key])
    return {"certificate": chain, "certificate_key": key}


def _codes(world: World, url: str, times: int = 1, *more: str) -> list[str]:
    asked = ["curl", "-sk", "-m", "15", *more, "-w", "%{http_code} ", *([url, "-o", "/dev/null"] * times)]
    return world.host.exec(asked).stdout.split()


@pytest.mark.parametrize("platform", ["supervisord", pytest.param("systemd", marks=pytest.mark.slow)])
def test_two_services_share_a_port_of_tls_by_their_names_and_their_limits_are_for_strangers(world: World) -> None:
    public, plain = world.port + 2, world.port + 3
    a, b = (f"{each}.example.net" for each in "ab")
    limited = {"port": public, "names": [a], "body": 1000, "rate": 1, "headers": {"X-Frame-Options": "DENY"}}
    services = {
        "web": web(world.port, "a", proxy={**limited, **_certificate(world, a)}),
        "api": web(world.port + 1, "b", proxy={"port": public, "names": [b], **_certificate(world, b)}),
        "open": web(world.port + 4, "open", metrics={"path": "/metrics"}, proxy={"port": plain}),
    }
    world.declare(services)
    world.up()

    for name, version, frame in ((a, "a", "DENY"), (b, "b", None)):
        certificate = ["--cacert", f"/etc/ssl/{world.name}-{name}.pem"]
        url, way = f"https://{name}:{public}/", ["--resolve", f"{name}:{public}:127.0.0.1"]
        claims = ["-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher"]
        head, _, body = world.host.exec(
            ["curl", "-sSi", "--http1.1", *certificate, *way, *claims, url]
        ).stdout.partition("\r\n\r\n")
        answer = json.loads(body)
        assert answer["version"] == version
        assert answer["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert answer["headers"]["x-forwarded-proto"] == "https"
        assert (f"x-frame-options: {frame}".lower() in head.lower()) is (frame is not None)
        assert "strict-transport-security" in head.lower()

    way = ["--resolve", f"{a}:{public}:127.0.0.1"]
    assert _codes(world, f"https://{a}:{public}/", 1, *way, "--http1.1", "-d", "x" * 1001) == ["413"]
    assert "429" in _codes(world, f"https://{a}:{public}/", 20, *way)
    assert set(_codes(world, f"https://{a}:{public}/health", 20, *way)) == {"200"}
    own = f"http://127.0.0.1:{world.port}/"
    assert set(_codes(world, own, 20)) == {"200"}
    assert _codes(world, own, 1, "-d", "x" * 1001) == ["200"]
    assert _codes(world, f"http://127.0.0.1:{plain}/metrics") == ["404"]
    assert _codes(world, f"http://127.0.0.1:{world.port + 4}/metrics") == ["200"]
    assert _codes(world, f"https://other.example.net:{public}/", 1, "--connect-to", f"::127.0.0.1:{public}") == ["404"]

    _certificate(world, b)  # renewed
    renewed = ["--cacert", f"/etc/ssl/{world.name}-{b}.pem", "--resolve", f"{b}:{public}:127.0.0.1"]
    world.host.kill(world.pid("traffic"), signal.SIGUSR2)
    served = ["curl", "-sS", *renewed, f"https://{b}:{public}/"]
    until(lambda: world.host.exec(served, check=False).returncode == 0, "what is renewed is read with a reload")


@pytest.mark.slow
def test_doctor_says_how_long_what_strangers_are_shown_is_good_and_what_has_ended(world: World) -> None:
    a, b = (f"{each}.example.net" for each in "ab")
    services = {
        name: web(
            world.port + number, name, proxy={"port": world.port + 2, "names": [host], **_certificate(world, host)}
        )
        for number, (name, host) in enumerate({"web": a, "api": b}.items())
    }
    world.declare(services)
    assert not _certificates(world)  # nobody answers yet
    world.up()

    told = _certificates(world)
    assert [each["word"] for each in told] == ["warning", "warning"]
    assert f"shows {a} a certificate that is good for 1 days" in told[0]["text"]
    assert f"{world.name}-{b}.pem" in told[1]["next"]

    _certificate(world, a, days=90)
    _ended(world, b)
    assert [each["word"] for each in _certificates(world)] == ["warning", "warning"]  # not read again yet
    world.host.kill(world.pid("traffic"), signal.SIGUSR2)
    until(lambda: [each["word"] for each in _certificates(world)] == ["ok", "problem"], "what is shown now is told")


def _ended(world: World, name: str) -> None:
    """A certificate that ended yesterday, in the place of the one that is there; OpenSSL makes none."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, called = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    chain = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for kind, content in {"key": key.private_bytes(pem, pkcs8, plain), "pem": chain.public_bytes(pem)}.items():
        world.host.write(f"/etc/ssl/{world.name}-{name}.{kind}", content.decode())


def _certificates(world: World) -> list[dict[str, str]]:
    (host,) = doctor(world.deployment())
    found = [each for each in host.findings if each.subject == "certificate"]
    return [{"word": each.word, "text": each.text, "next": each.next_step} for each in found]


@pytest.mark.slow
def test_a_public_port_that_somebody_else_has_is_refused_before_anything_changes(world: World) -> None:
    world.web("1")
    world.up()
    public, missing = world.port + 2, "/etc/ssl/nobody.pem"
    serve = f"python3 -m http.server {public} --bind 127.0.0.1 >/dev/null 2>&1 &"
    world.host.exec(["sh", "-c", f"{serve} until curl -s 127.0.0.1:{public}; do sleep 0.05; done"])

    world.web("2", proxy={"port": public})
    with pytest.raises(DeployError, match=rf"port {public} of \S*traffic\S* is taken by .*python3"):
        world.up()
    for pid in world.host.pids("http.server", str(public)):
        world.host.kill(pid)
    world.web("2", proxy={"port": public, "certificate": missing, "certificate_key": missing})
    with pytest.raises(DeployError, match=f"{missing} is no file here"):
        world.up()

    assert world.version == "1"
    assert not [each for each in world.events if each.get("step") == "start"]
    world.web("2", proxy={"port": public})
    world.up()
    assert world.get(port=public)["version"] == "2"

    front, before = world.pid("traffic"), world.pid("web", "2")
    world.web("2", proxy={"port": public, "headers": {"X-Frame-Options": "DENY"}})
    world.up()
    asked = ["curl", "-sI", f"http://127.0.0.1:{public}/health"]
    assert "x-frame-options: DENY" in world.host.exec(asked).stdout
    assert (world.pid("traffic"), world.pid("web", "2")) == (front, before)

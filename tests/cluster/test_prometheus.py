"""A Prometheus behind something that demands a token, over TLS with an authority of its own."""

from __future__ import annotations

import json
import ssl
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from provision.cluster.project_there import ProjectThere
from provision.cluster.traffic.figures import Counting
from provision.errors import DeployError
from provision.project import load
from tests.cluster import certificates

_TOKEN = "a-token.that_nobody~should+see/000="
_TOML = """\
[project]
name = "cres"
image = "ghcr.io/acme/cres@sha256:{digest}"
[services.web]
command = ["a", "${{port}}"]
port = 9000
check = {{ http = "/" }}
[targets.k8s]
platform = "kubernetes"
[targets.k8s.rollout]
steps = ["1%"]
abort = {{ errors = "2%" }}
prometheus = "{url}"
"""
_NAMED = 'prometheus_token = "PROMETHEUS_TOKEN"\n'
_CA = 'prometheus_ca = "ca.pem"\n'


@dataclass
class Guarded:
    """It, and what came to it."""

    url: str
    authority: bytes
    asked: list[str] = field(default_factory=list)
    status: int = 200
    body: str = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1700.5, "1700.5"]}})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded") / "keys"
    certificates.write(folder, ["127.0.0.1"])
    return folder


@pytest.fixture
def guarded(keys: Path) -> Iterator[Guarded]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.asked.append(self.path)
            known = self.headers.get("Authorization") == f"Bearer {_TOKEN}"
            self.send_response(found.status if known else 401)
            if found.status == 302:
                self.send_header("Location", f"{found.url}/elsewhere")
            self.end_headers()
            self.wfile.write((found.body if known else "who are you?").encode())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.crt", keys / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Guarded(f"https://127.0.0.1:{server.server_port}", (keys / "ca.crt").read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_TOKEN", raising=False)


def there(root: Path, guarded: Guarded, more: str, token: str | None = _TOKEN) -> ProjectThere:
    """As the verbs that only look have it: no secret is demanded for them."""
    (root / "deploy.toml").write_text(_TOML.format(url=guarded.url, digest="a" * 64) + more)
    (root / "ca.pem").write_bytes(guarded.authority)
    if token is not None:
        (root / ".env").write_text(f"PROMETHEUS_TOKEN='{token}'\n")
    return ProjectThere(load(root, target="k8s", demand_secrets=False), "k8s", lambda _: None)


def test_it_is_asked_with_the_token_and_by_the_authority_that_are_declared(tmp_path: Path, guarded: Guarded) -> None:
    found = there(tmp_path, guarded, _NAMED + _CA).prometheus
    assert found.now() == 1700.5
    assert guarded.asked == ["/api/v1/query"]
    assert _TOKEN not in repr(found)


def test_a_command_that_gives_the_token_is_asked_once_and_for_those_alone_who_ask(
    tmp_path: Path, guarded: Guarded
) -> None:
    command = f'[secrets.PROMETHEUS_TOKEN]\ncommand = ["sh", "-c", "echo once >> asked; echo {_TOKEN}"]\n'
    project = there(tmp_path, guarded, _NAMED + _CA + command, token=None)
    assert not (tmp_path / "asked").exists()
    assert project.prometheus.now() == project.prometheus.now() == 1700.5
    assert (tmp_path / "asked").read_text() == "once\n"


# What is declared, and the token; what Prometheus answers; what is said.
REFUSED: list[tuple[str, str | None, int, tuple[str, ...]]] = [
    (_CA, None, 200, ("wants to know who asks (401)", "targets.k8s.rollout names no prometheus_token")),
    (_NAMED + _CA, "another", 200, ("targets.k8s.rollout.prometheus_token", "does not know it (401)")),
    (_NAMED + _CA, _TOKEN, 403, ("targets.k8s.rollout.prometheus_token", "does not let it ask (403)")),
    (_NAMED + _CA, None, 200, ("targets.k8s.rollout.prometheus_token", "PROMETHEUS_TOKEN is not set", ".env")),
    (_NAMED + _CA, f"{_TOKEN} and more", 200, ("targets.k8s.rollout.prometheus_token", "holds is no token")),
    (_NAMED + _CA, f"{_TOKEN}ü", 200, ("targets.k8s.rollout.prometheus_token", "holds is no token")),
    (_NAMED, _TOKEN, 200, ("a certificate that nothing here trusts", "targets.k8s.rollout.prometheus_ca")),
    (_NAMED + 'prometheus_ca = "no.pem"', _TOKEN, 200, ("prometheus_ca: no.pem can't be read", "No such file")),
    (_NAMED + 'prometheus_ca = ".env"', _TOKEN, 200, ("prometheus_ca: .env can't be read", "no certificate")),
    (_NAMED + _CA, _TOKEN, 302, ("Prometheus does not answer",)),
]


@pytest.mark.parametrize(("declared", "token", "status", "says"), REFUSED)
def test_whoever_is_not_let_in_is_told_by_which_key(
    tmp_path: Path, guarded: Guarded, declared: str, token: str | None, status: int, says: tuple[str, ...]
) -> None:
    guarded.status, guarded.body = status, "" if status != 200 else guarded.body
    found = there(tmp_path, guarded, declared, token).prometheus
    with pytest.raises(DeployError) as failure:
        found.now()
    told = str(failure.value)
    assert all(part in told for part in says), told
    assert _TOKEN not in "".join(traceback.format_exception(failure.value))
    assert "/elsewhere" not in guarded.asked


def test_what_it_complains_of_is_told_without_the_token(tmp_path: Path, guarded: Guarded) -> None:
    guarded.body = json.dumps({"status": "error", "error": f"parse error, asked by {_TOKEN}"})
    with pytest.raises(DeployError, match="parse error, asked by …") as failure:
        project = there(tmp_path, guarded, _NAMED + _CA)
        Counting(project.prometheus, project.target.rollout.figures, "cres").samples("web", ["web"], 100.0, 200.0)
    assert _TOKEN not in str(failure.value)

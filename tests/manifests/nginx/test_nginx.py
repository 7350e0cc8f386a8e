"""What is rendered for nginx, read and run by a real one. Golden files: make golden"""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from provision.errors import UnencodableValue, UsageError
from provision.manifests.encoders import nginx_string
from provision.manifests.nginx import files
from provision.manifests.value import Value
from provision.project.schema import Project
from tests.manifests.nginx.server import ByPath, complaints, free_port, install, nginx, service
from tests.manifests.projects import project
from tests.manifests.values import batches, examples, texts

GOLDEN = Path(__file__).parent / "golden"
CERTIFICATE = {"certificate": "/etc/ssl/cres/chain.pem", "certificate_key": "/etc/ssl/cres/key.pem"}
HEADERS = {"Content-Security-Policy": "default-src 'self' \"a\\b\" $x; #é", "X-Robots-Tag": "none"}
SERVICES: dict[str, dict[str, Any]] = {
    "api": {
        "command": ["api"],
        "port": 8000,
        "check": {"http": "/healthz"},
        "metrics": {},
        "proxy": {
            **CERTIFICATE,
            "names": ["api.example.net", "*.api.example.net"],
            "canary": 5,
            "rate": 10,
            "connections": 20,
            "headers": HEADERS,
            "body": "1MB",
        },
    },
    "rollout-server": {
        "command": ["rollout"],
        "port": 9000,
        "proxy": {"port": 9443, **CERTIFICATE, "upstreams": ["10.0.0.5", "10.0.0.6", "2001:db8::7"], "timeout": "20m"},
    },
    "web": {
        "command": ["web"],
        "port": 8080,
        "proxy": {
            "names": ["www.example.net"],
            "upstreams": ["localhost", "127.0.0.2"],
            "weights": {"127.0.0.2": 3},
            "connect_timeout": "60s",
            "send_timeout": "10m",
        },
    },
    "behind": {"command": ["behind"], "port": 8081},
}
CRES = project(SERVICES)
FILES = files(CRES, None, Path("/nowhere"))


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_as_reviewed(name: str) -> None:
    place = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(FILES[name])

    assert FILES[name] == place.read_text()
    assert [line for line in FILES[name].split("\n") if line != line.rstrip()] == []
    assert "\n\n\n" not in FILES[name]


def test_only_services_with_a_proxy_have_a_file_and_none_is_left_over() -> None:
    assert {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()} == set(FILES)
    assert sorted(FILES) == [
        "conf.d/cres-api.conf",
        "conf.d/cres-rollout-server.conf",
        "conf.d/cres-web.conf",
        "modules-enabled/deploy.conf",
    ]


def test_a_target_that_runs_fewer_services_gets_their_files_alone() -> None:
    there = CRES.targets["there"].model_copy(update={"services": ("web", "behind")})

    assert list(files(CRES, there, Path("/nowhere"))) == ["conf.d/cres-web.conf", "modules-enabled/deploy.conf"]


def test_a_project_without_a_proxy_is_told_how_to_declare_one() -> None:
    with pytest.raises(UsageError, match="no service declares a proxy"):
        files(project({"web": SERVICES["behind"]}), None, Path("/nowhere"))


def test_port_80_leads_to_one_service_where_several_have_the_same_names() -> None:
    tls = {"command": ["a"], "port": 8000, "proxy": CERTIFICATE}
    plain = {"command": ["a"], "port": 8002, "proxy": {"names": ["www.example.net"]}}
    named = {**CERTIFICATE, "names": ["www.example.net"]}
    services = {
        "a": tls,
        "b": {**tls, "port": 8001, "proxy": {**CERTIFICATE, "port": 9443}},
        "c": plain,
        "d": {**tls, "port": 8003, "proxy": named},
    }

    rendered = files(project(services), None, Path("/nowhere"))

    assert [name for name, text in rendered.items() if "return 308" in text] == ["conf.d/cres-a.conf"]


def certificate(folder: Path) -> dict[str, str]:
    """A certificate for 127.0.0.1 and api.example.net."""
    place = {"certificate": str(folder / "chain.pem"), "certificate_key": str(folder / "key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=cres", "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.example.net"]
    command += ["-keyout", place["certificate_key"], "-out", place["certificate"]]
    subprocess.run(command, check=True, capture_output=True)
    return place


@pytest.mark.root
def test_nginx_finds_nothing_to_say_about_two_projects_beside_each_other(tmp_path: Path) -> None:
    """In a network of its own: nginx takes the ports even to test."""
    other = Project.model_validate({"name": "other", "services": {"api": dict(SERVICES["api"])}})
    place = certificate(tmp_path)
    rendered = {**FILES, **files(other, None, Path("/nowhere"))}
    for name, text in rendered.items():
        there = text.replace(CERTIFICATE["certificate"], place["certificate"]).replace(
            CERTIFICATE["certificate_key"], place["certificate_key"]
        )
        rendered[name] = there.replace(".example.net", ".example.org") if "other" in name else there

    tested = subprocess.run(
        ["unshare", "--net", *install(tmp_path, rendered), "-t"], capture_output=True, text=True, check=False
    )

    assert complaints(tested.stderr + (tmp_path / "error.log").read_text()) == []
    assert tested.returncode == 0


@examples(24)
@given(values=batches(texts()))
@example(values=["", "$", "${x}", "$request_uri", '"', "\\", "\\n", "'", ";", "{", "}", "#", " ", "\r\n\t", "\\$"])
def test_nginx_gives_every_string_back(values: list[str]) -> None:
    lines = [
        f"location = /{at} {{ return 200 {nginx_string(Value('x', (value,)))}; }}" for at, value in enumerate(values)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = "\n".join([f"server {{ listen unix:{folder}/socket;", *lines, "}"])
        with nginx(folder, {"conf.d/a.conf": 'geo $deploy_dollar { default "$"; }\n' + server}):
            connection = ByPath(folder / "socket")
            for at, value in enumerate(values):
                connection.request("GET", f"/{at}")
                assert connection.getresponse().read().decode() == value
            connection.close()


@pytest.mark.parametrize(("text", "reason"), [("a\0b", "NUL"), ("x" * 4096, "4096 bytes"), ("$" * 400, "at most")])
def test_what_nginx_cannot_read_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(UnencodableValue, match=rf"services\.web\.proxy\.headers\.A: .*{reason}"):
        nginx_string(Value("services.web.proxy.headers.A", (text,)))


class Front:
    """nginx before a stable copy and a canary, and how to ask it."""

    def __init__(self, port: int, certificate: str, go_on: threading.Event) -> None:
        self.port = port
        self.go_on = go_on  # lets the stable copy end a stream
        self.context = ssl.create_default_context(cafile=certificate) if certificate else None

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        connection = self.connection()
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    def connection(self) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


@pytest.fixture
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    """nginx as `request.param` declares it, in front of services called stable and canary."""
    declared: dict[str, Any] = dict(getattr(request, "param", {}))
    place = certificate(tmp_path) if declared.pop("tls", False) else {}
    port = free_port()
    with service("stable") as (stable, go_on), service("canary") as (canary, _):
        web = {
            "command": ["web"],
            "port": stable,
            "canary_port": canary,
            "metrics": {},
            "proxy": {"port": port, **place, **declared},
        }
        rendered = files(project({"web": web}), None, Path("/nowhere"))
        # Port 80 may be somebody's on the machine of the tests, and IPv6 missing.
        lines = [line for line in rendered["conf.d/cres-web.conf"].splitlines() if "listen [::]" not in line]
        rendered["conf.d/cres-web.conf"] = "\n".join(lines).replace("listen 80;", f"listen unix:{tmp_path}/plain;")
        with nginx(tmp_path, rendered):
            yield Front(port, place.get("certificate", ""), go_on)


def test_a_stream_is_passed_on_word_by_word(front: Front) -> None:
    connection = front.connection()
    connection.request("GET", "/stream")
    answer = connection.getresponse()

    assert answer.read(5) == b"first"

    front.go_on.set()
    assert answer.read() == b"second"
    connection.close()


@pytest.mark.parametrize("front", [{"canary": 50}], indirect=True)
def test_clients_are_shared_between_the_copies_and_each_stays_with_its_own(front: Front) -> None:
    first = [front.ask(User_Agent=f"browser {number}") for number in range(60)]
    seen = [text.split("\n")[0] for _, text in first]
    cookies = [str(answer.getheader("Set-Cookie")).partition(";")[0] for answer, _ in first]

    assert set(seen) == {"stable", "canary"}
    assert 10 <= seen.count("canary") <= 50
    assert cookies == [f"cres_web_lane={lane}" for lane in seen]

    again = [front.ask(User_Agent="another", Cookie=cookie) for cookie in cookies]

    assert [text.split("\n")[0] for _, text in again] == seen
    assert {answer.getheader("Set-Cookie") for answer, _ in again} == {None}


def test_who_was_drawn_for_a_canary_that_is_gone_is_served_by_a_stable_copy(tmp_path: Path) -> None:
    port = free_port()
    with service("stable") as (stable, _):
        web = {"command": ["web"], "port": stable, "canary_port": free_port(), "proxy": {"port": port, "canary": 100}}
        rendered = files(project({"web": web}), None, Path("/nowhere"))
        text = rendered["conf.d/cres-web.conf"].replace("    listen [::]", "    # listen [::]")
        with nginx(tmp_path, {**rendered, "conf.d/cres-web.conf": text}):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/", headers={"Cookie": "cres_web_lane=canary"})
            assert connection.getresponse().read().startswith(b"stable")
            connection.close()


def test_hosts_have_their_share_of_the_requests_and_may_be_called_by_name(tmp_path: Path) -> None:
    port = free_port()
    proxy = {"port": port, "upstreams": ["localhost", "127.0.0.2"], "weights": {"127.0.0.2": 3}}
    with service("light") as (behind, _), service("heavy", "127.0.0.2", behind):
        web = {"command": ["web"], "port": behind, "proxy": proxy}
        rendered = files(project({"web": web}), None, Path("/nowhere"))
        placed = {
            name: text.replace(f"    listen [::]:{port} default_server;\n", "") for name, text in rendered.items()
        }
        with nginx(tmp_path, placed):
            front = Front(port, "", threading.Event())
            answers = [front.ask()[1].splitlines()[0] for _ in range(8)]

    # The name may have a second address, ::1, where nobody is.
    assert answers.count("heavy") > answers.count("light") > 0


@pytest.mark.parametrize("front", [{"rate": 1}], indirect=True)
def test_a_client_that_asks_too_often_is_told_so_and_health_still_answers(front: Front) -> None:
    statuses = [front.ask()[0].status for _ in range(20)]

    assert statuses[:2] == [200, 200]
    assert 429 in statuses
    assert {front.ask("/health")[0].status for _ in range(20)} == {200}


@pytest.mark.parametrize("front", [{"body": 1000}], indirect=True)
def test_a_request_that_is_too_large_does_not_reach_the_service(front: Front) -> None:
    assert front.ask(method="POST", body=b"x" * 1000)[0].status == 200
    assert front.ask(method="POST", body=b"x" * 1001)[0].status == 413


def test_the_service_is_told_who_really_asks_and_its_metrics_stay_inside(front: Front) -> None:
    _, text = front.ask(X_Forwarded_For="6.6.6.6", Host="www.example.net")

    assert "X-Forwarded-For: 127.0.0.1\n" in text
    assert "Host: www.example.net\n" in text
    assert front.ask("/metrics")[0].status == 404


@pytest.mark.parametrize("front", [{"tls": True, "headers": HEADERS, "names": ["api.example.net"]}], indirect=True)
def test_tls_is_ended_here_headers_arrive_unharmed_and_plain_http_leads_to_tls(front: Front, tmp_path: Path) -> None:
    answer, text = front.ask("/a?b=c")

    assert "X-Forwarded-Proto: https\n" in text
    assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
    assert {name: str(answer.getheader(name)).encode("latin-1").decode() for name in HEADERS} == HEADERS
    plain = ByPath(tmp_path / "plain")
    plain.request("POST", "/a?b=c", headers={"Host": "api.example.net"})
    redirected = plain.getresponse()
    assert redirected.status == 308
    assert redirected.getheader("Location") == f"https://api.example.net:{front.port}/a?b=c"

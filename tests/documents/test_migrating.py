"""docs/migrating.md, done on a host whose image starts its programs by its own supervisord.conf."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import DeclarationError, PutBack, Refused
from provision.native.model import write_demo_model
from provision.project import load
from provision.targets import Deployment
from tests.faults.hooks import until
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost

pytestmark = [pytest.mark.root, pytest.mark.slow]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
MAIN = "/etc/supervisor/supervisord.conf"
MODEL = "/workspace/models/demo.gguf"
# In place of what the image brings: a model server and uvicorn, which the test bed lacks.
SERVER = """#!/usr/bin/python3
import http.server, sys
if "--version" in sys.argv:
    sys.exit(print("1"))
WHO = {who!r}
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((WHO + " " + " ".join(sys.argv[1:])).encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""
MIGRATE = "import pathlib\npathlib.Path('/workspace/migrated').open('a').write('once ')\n"


def block(language: str, holds: str) -> str:
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if holds in text)


def answer(host: TestHost, port: int) -> str:
    ran: subprocess.CompletedProcess[str] = host.exec(["curl", "-fsS", "-m", "5", f"127.0.0.1:{port}"], check=False)
    return ran.stdout


@pytest.fixture
def host(make_host: MakeHost) -> TestHost:
    """As the page finds it."""
    host = make_host(Kind.SUPERVISORD)
    host.write("/app/llama-server", SERVER.format(who="llama"), mode=0o755)
    host.write("/workspace/app/uvicorn.py", SERVER.format(who="theirs"))
    host.write("/workspace/app/uploads/old", "kept")
    host.write(MAIN, host.read(MAIN).decode() + "\n" + block("ini", "fastapi"))
    return host


@pytest.fixture
def project(host: TestHost, tmp_path: Path) -> Path:
    write_demo_model(tmp_path / "demo.gguf")
    host.write(MODEL, (tmp_path / "demo.gguf").read_bytes())
    host.exec(["supervisorctl", "update"])
    until(lambda: answer(host, 8000).startswith("theirs") and bool(answer(host, 8081)), "the image serves")
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "migrate.py").write_text(MIGRATE)
    (folder / "uvicorn.py").write_text(SERVER.format(who="ours"))
    (folder / "deploy.toml").write_text(block("toml", "take_over"))
    (folder / ".env").write_text(f"VAST_HOST={host.address}\nVAST_PORT=22\nVAST_SSH_KEY={host.identity}\n")
    (folder / "known_hosts").write_text(f"{host.address} {host.host_key}\n")
    return folder


def deployment(project: Path) -> Deployment:
    return Deployment(load(project, environ={}), "vast")


def test_the_page_s_project_takes_the_place_of_the_image_s_programs(host: TestHost, project: Path) -> None:
    before = host.read(MAIN)
    text = (project / "deploy.toml").read_text()
    (project / "deploy.toml").write_text("".join(line for line in text.splitlines(True) if "take_over" not in line))
    with pytest.raises(Refused) as refused:
        rollout.up(deployment(project))
    assert "take_over = [" in refused.value.next_step

    (project / "deploy.toml").write_text(text)
    host.exec(["chmod", "666", MODEL])
    with pytest.raises(Refused, match="others could change the model"):
        rollout.up(deployment(project))
    host.exec(["chmod", "644", MODEL])
    (project / "uvicorn.py").write_text("raise SystemExit('broken')\n")
    with pytest.raises(PutBack):
        rollout.up(deployment(project))
    until(lambda: answer(host, 8000).startswith("theirs") and bool(answer(host, 8081)), "the image serves again")
    assert host.read(MAIN) == before

    (project / "uvicorn.py").write_text(SERVER.format(who="ours"))
    (planned,) = rollout.plan(deployment(project))
    assert planned.plan.takes == (f"fastapi ({MAIN})", f"llama ({MAIN})")
    assert not planned.plan.models
    assert rollout.up(deployment(project))[0].outcome == "committed"
    assert answer(host, 8000).startswith("ours")
    assert MODEL in answer(host, 8081)
    assert rollout.up(deployment(project))[0].outcome == "unchanged"
    copy = re.search(r"deploy exec -- (cp .*)", DOCUMENT)
    assert copy
    assert rollout.execute(deployment(project), copy[1].split()) == 0
    assert host.read("/workspace/cres/shared/data/uploads/old") == b"kept"
    host.exec(["supervisorctl", "reload"])
    until(lambda: answer(host, 8000).startswith("ours") and bool(answer(host, 8081)), "and after a restart")
    assert host.read("/etc/supervisor/.supervisord.conf.before-fastapi") == before


@pytest.mark.parametrize("damage", ["truncate -s 600", "sh -c 'echo nothing >\"$0\"'", "rm -f"])
def test_a_model_of_the_host_s_that_is_none_is_refused_before_anything_is_sent(
    host: TestHost, project: Path, damage: str
) -> None:
    host.exec(["sh", "-c", f"{damage} {MODEL}"])
    with pytest.raises((Refused, DeclarationError), match=r"demo\.gguf"):
        rollout.up(deployment(project))
    assert host.exec(["ls", "/workspace/cres/releases"], check=False).stdout.split() == []

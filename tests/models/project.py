"""A project that declares a model, on a sandbox of its own; its Hub is one of ours."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.cli.ports import free_ports

REPOSITORY = "acme/tiny-gguf"


class Project:
    """One service with a declared model, for the sandbox."""

    seconds = 180  # that a command has

    def __init__(self, root: Path, environ: dict[str, str]) -> None:
        self.root, self.environ, (self.port,) = root, environ, free_ports(1)
        self.root.mkdir()
        (root / "serve.py").write_text(
            "import hashlib, http.server, sys\n"
            "answer = hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest().encode()\n"
            "class Web(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        self.send_response(200)\n"
            "        self.send_header('Content-Length', str(len(answer)))\n"
            "        self.end_headers()\n"
            "        self.wfile.write(answer)\n"
            "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[2])), Web).serve_forever()\n"
        )

    def declare(self, source: str, extra: str = "") -> None:
        (self.root / "deploy.toml").write_text(
            f"""\
[project]
name = "modelled"

[models.tiny]
source = "{source}"
{extra}
[services.llm]
command = ["python3", "serve.py", "${{model}}", "${{port}}"]
model = "tiny"
port = {self.port}
check = {{ http = "/", timeout = "20s" }}

[targets.sandbox]
hosts = ["sandbox"]
path = "{self.root.parent}/place"
"""
        )

    def become_another(self) -> None:
        """Be another project of the same account, with the same model, beside what runs."""
        declared, (port,) = self.root / "deploy.toml", free_ports(1)
        text = declared.read_text()
        for before, after in (
            ("/place", "/another"),
            ('"modelled"', '"other"'),
            ("services.llm", "services.lm"),
            (f"port = {self.port}", f"port = {port}"),
        ):
            text = text.replace(before, after)
        declared.write_text(text)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "provision.cli", *words],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refused(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def served(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30) as answer:
            return str(answer.read().decode())

    @property
    def kept(self) -> list[Path]:
        """What the host has of models."""
        return sorted((self.root.parent / "place/shared/models").iterdir())

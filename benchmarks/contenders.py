"""Who is timed in benchmarks/deploy.py: the same job, each as its users would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed import TestHost

PEERS = Path(__file__).with_name("peers")
_PINNED = ("pyinfra==3.10.0", "ansible==12.3.0")
_SECONDS = 600


@dataclass
class Contender:
    """Deploys a folder to hosts of its own; `arrange` writes what it needs once, `command` is what is timed."""

    name: str
    hosts: list[TestHost]
    work: Path
    source: Path
    environment: dict[str, str] = field(default_factory=dict)

    def arrange(self) -> None:
        """Write inventories, keys, declarations."""
        self.work.mkdir(parents=True, exist_ok=True)
        identity = self.work / "id"
        identity.write_bytes(self.hosts[0].identity.read_bytes())
        identity.chmod(0o600)
        known = [f"{name} {host.host_key}\n" for host in self.hosts for name in (host.name, host.address)]
        (self.work / "known_hosts").write_text("".join(known))

    def commands(self, release: str) -> list[list[str]]:
        """What is started, all at the same time."""
        raise NotImplementedError

    def run(self, release: str) -> None:
        """Deploy `release`, and wait for the end.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        running = [
            subprocess.Popen(
                command,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
            )
            for command in self.commands(release)
        ]
        for process in running:
            output, _ = process.communicate(timeout=_SECONDS)
            if process.returncode != 0:
                raise RuntimeError(f"{self.name}: {output.decode(errors='replace')[-3000:]}")

    def serves(self) -> bool:
        """Whether every host answers."""
        ask = ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8000/"]
        return all(host.exec(ask, check=False).returncode == 0 for host in self.hosts)

    def wipe(self) -> None:
        """Make the hosts as if nothing had ever been deployed."""
        script = (
            "supervisorctl stop all >/dev/null; rm -f /etc/supervisor/conf.d/*; supervisorctl update >/dev/null;"
            " chmod -R u+w /workspace; rm -rf /workspace/* /var/lib/deploy"
        )
        for host in self.hosts:
            host.exec(["sh", "-c", script], check=False)


class Script(Contender):
    """The floor: a careful engineer's shell script, one for each host at the same time."""

    def commands(self, release: str) -> list[list[str]]:
        self.environment = {"FLEET": str(self.work)}
        script = str(PEERS / "shell_deploy.sh")
        return [["bash", script, str(self.source), release, host.address, "22", host.name] for host in self.hosts]


class Ours(Contender):
    """`deploy up`, a fresh process each time."""

    program = Path(sys.executable).with_name("deploy")

    def arrange(self) -> None:
        super().arrange()
        hosts = ", ".join(f'"root@{host.address}"' for host in self.hosts)
        (self.source / "known_hosts").write_text((self.work / "known_hosts").read_text())
        (self.source / "deploy.toml").write_text(
            f"""\
[project]
name = "bench"

[services.web]
command = ["/usr/bin/python3", "-m", "http.server", "${{port}}"]
port = 8000
check = {{ http = "/" }}

[services.worker-cpu]
command = ["/bin/sleep", "100000"]
on_demand = true

[services.worker-gpu]
command = ["/bin/sleep", "100000"]
on_demand = true

[targets.bench]
platform = "supervisord"
hosts = [{hosts}]
identity = "{self.work / "id"}"
path = "/workspace/bench"
keep = 5
"""
        )

    def commands(self, release: str) -> list[list[str]]:
        del release  # it is what the folder holds
        return [[str(self.program), "up", "--dir", str(self.source), "--json"]]


class Before(Ours):
    """The same by another checkout, whose `program` is set before it is timed."""


class Pyinfra(Contender):
    """pyinfra, all hosts in one run."""

    def commands(self, release: str) -> list[list[str]]:
        hosts = [
            (host.address, {"ssh_user": "root", "ssh_key": str(self.work / "id"),
                            "ssh_known_hosts_file": str(self.work / "known_hosts")})
            for host in self.hosts
        ]  # fmt: skip
        (self.work / "inventory.py").write_text(f"bench = {hosts!r}\n")
        self.environment = {"SRC": str(self.source), "REL": release, "HERE": str(PEERS)}
        return [[str(peers_python().with_name("pyinfra")), "-y", "inventory.py", str(PEERS / "pyinfra_deploy.py")]]


class Ansible(Contender):
    """Ansible with pipelining, all hosts in one run."""

    def commands(self, release: str) -> list[list[str]]:
        options = f"-o UserKnownHostsFile={self.work}/known_hosts"
        lines = [
            f"{host.name} ansible_host={host.address} ansible_user=root ansible_ssh_private_key_file={self.work}/id "
            f"ansible_ssh_common_args='{options}' ansible_python_interpreter=/usr/bin/python3"
            for host in self.hosts
        ]
        (self.work / "inventory.ini").write_text("\n".join(lines) + "\n")
        self.environment = {
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": str(len(self.hosts)),
            "PATH": f"{peers_python().parent}:{os.environ['PATH']}",
        }
        values = ["-e", f"src={self.source}", "-e", f"release={release}"]
        playbook = str(PEERS / "ansible_deploy.yml")
        return [[str(peers_python().with_name("ansible-playbook")), "-i", "inventory.ini", *values, playbook]]


CONTENDERS: dict[str, type[Contender]] = {
    "script": Script,
    "deploy": Ours,
    "before": Before,
    "pyinfra": Pyinfra,
    "ansible": Ansible,
}


def peers_python() -> Path:
    """A virtual environment with the peers, made once in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "bitnet-provision" / "benchmark-peers" / "-".join(_PINNED).replace("=", "")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {', '.join(_PINNED)} into {folder} (once, about two minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PINNED], check=True)
        (folder / "complete").touch()
    return python


def chosen(names: Sequence[str]) -> list[str]:
    """The names, the floor first: every ratio is against it."""
    return ["script", *(name for name in names if name != "script")]

"""How long a model takes to reach hosts, against what the slowest line needs for one copy (the floor).

    python -m benchmarks.models [--megabytes 200] [--hosts 1,4,16] [--line 100] [--laptop 40]

Each host has a line of its own (`--line`, Mbit/s), and so has the laptop (`--laptop`, Mbit/s upwards, for all hosts
together); the source's is as wide as is needed. Cases: `source` (hosts fetch it), `ship` (`fetch = "ship"`: this
machine fetches it, then ships it), `own file` (it lies here, and is shipped); of all three, each of several hosts asks
for a share, and hosts lend one another what they have. `rsync` to each at once, `curl` and `hf download` on each at
once. The first three are `deploy model fetch`, which brings the agent, too, and ends once the file has been hashed and
has its name. The floor of what goes up the laptop's line is that line's, else the host's.

`of the source` is how many copies the source has sent, packets sent again and their headers included.

Measured on two cores that nothing else used (200 MiB, 20 Mbit/s to each host, 40 up the laptop's line, one round);
times the floor, which is 84 s:

    1 host      source     1.07                                51 MB
                own file   1.07, 1.01 up the laptop's line     47 MB
    4 hosts     own file   1.12, 1.05 up the laptop's line     53 MB
    16 hosts    source     1.22, 1.15 of the source            68 MB
                own file   1.22, 1.13 up the laptop's line     60 MB

Needs root: hosts are network namespaces with a root file system and sshd of their own, lines are the kernel's token
buckets (tc-tbf), and the source is nginx with TLS.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from provision.native.model import write_demo_model
from tests.testbed import Kind, Slot, TestHost, take_slot

_SECONDS = 3600
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FILE = "acme/bench/resolve/main/model.gguf"  # as the Hub has it
_PORT = 8443
_CAUGHT_UP = 0.1  # seconds between two looks at the memory of agents
_TRUSTED = "usr/lib/ssl/cert.pem"  # what Debian's OpenSSL trusts
_UP = ("ship", "own file", "rsync")  # cases that go up the laptop's line
_OURS = ("source", "ship", "own file")
_NGINX = """\
user root;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  sendfile on;
  server {{
    listen {address}:{port} ssl;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    root {folder}/www;
    add_header X-Repo-Commit {commit};
  }}
}}
"""


class Field:
    """A source, hosts behind lines of their own, and what is asked of them."""

    def __init__(self, slot: Slot, folder: Path, count: int, megabytes: int, line: float, laptop: float) -> None:
        self.folder, self.slot = folder, slot
        self.source = TestHost(Kind.SUPERVISORD, slot)
        self.hosts = [TestHost(Kind.SUPERVISORD, slot) for _ in range(count)]
        self.url = f"https://{self.source.address}:{_PORT}"
        self.model = folder / "www" / _FILE
        self.model.parent.mkdir(parents=True)
        write_demo_model(self.model)
        with self.model.open("ab") as file:
            file.write(os.urandom((megabytes << 20) - file.tell()))
        with self.model.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._certificate()
        for host in self.hosts:
            (host.disk / "upper" / _TRUSTED).parent.mkdir(parents=True, exist_ok=True)
            host.write(f"/{_TRUSTED}", (folder / "certificate.pem").read_text())
            _limit(f"{host.name}v", line)
        _limit(slot.bridge, laptop)  # what this machine itself sends; what it only passes on is not counted
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "SSL_CERT_FILE": str(folder / "certificate.pem"),
            "REQUESTS_CA_BUNDLE": str(folder / "certificate.pem"),
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """While the source answers."""
        text = _NGINX.format(folder=self.folder, address=self.source.address, port=_PORT, commit=_COMMIT)
        (self.folder / "nginx.conf").write_text(text)
        with subprocess.Popen(
            ["ip", "netns", "exec", self.source.name, "nginx", "-c", str(self.folder / "nginx.conf")]
        ) as server:
            time.sleep(0.5)
            try:
                yield
            finally:
                server.terminate()

    def _deploy(self, kind: str) -> Callable[[], None]:
        """`deploy model fetch`, to hosts that have neither a model nor our agent."""
        project = self.folder / kind.replace(" ", "-")
        project.mkdir()
        (project / "id").write_bytes(self.slot.identity.read_bytes())
        (project / "id").chmod(0o600)
        known = "".join(f"{host.address} {host.host_key}\n" for host in self.hosts)
        (project / "known_hosts").write_text(known)
        hosts = ", ".join(f'"root@{host.address}"' for host in self.hosts)
        declared = f'[models.m]\nsource = "{self.url}/{_FILE}"\nsha256 = "{self.sha256}"\n'
        if kind == "own file":
            (project / "m.gguf").hardlink_to(self.model)
            declared = ""
        elif kind == "ship":
            declared += 'fetch = "ship"\n'
        (project / "deploy.toml").write_text(
            f"""\
[project]
name = "bench-{kind.replace(" ", "-")}"
{declared}
[services.llm]
command = ["sleep", "1000"]
model = "{"./m.gguf" if kind == "own file" else "m"}"
[targets.here]
platform = "supervisord"
hosts = [{hosts}]
identity = "id"
path = "/workspace/{kind.replace(" ", "-")}"
"""
        )
        if declared:
            self._run("model", "lock", folder=project)
        return lambda: self._run("model", "fetch", folder=project)

    def _run(self, *words: str, folder: Path) -> None:
        deploy = Path(sys.executable).with_name("deploy")
        ran = subprocess.run(
            [deploy, *words], cwd=folder, env=self.environ, capture_output=True, text=True, timeout=_SECONDS
        )
        if ran.returncode != 0:
            raise RuntimeError((ran.stdout + ran.stderr)[-3000:])

    def case(self, name: str) -> Callable[[], None]:
        """What is timed."""
        return self._deploy(name) if name in _OURS else lambda: self._each(name)

    def _each(self, name: str) -> None:
        """One program for each host, all at once."""
        running = [
            subprocess.Popen(self._command(name, host), env=self.environ, stdout=subprocess.DEVNULL)
            for host in self.hosts
        ]
        ended = [program.wait(_SECONDS) for program in running]
        if any(ended):
            raise RuntimeError(f"{name} failed")

    def _command(self, name: str, host: TestHost) -> list[str]:
        if name == "rsync":
            *ssh, login = host.ssh_command()
            return ["rsync", "-e", " ".join(ssh), str(self.model), f"{login}:/root/model.gguf"]
        to = self.folder / f"{name}-{host.name}"
        inside = ["ip", "netns", "exec", host.name]
        if name == "curl":
            certificate = str(self.folder / "certificate.pem")
            return [*inside, "curl", "-sSf", "--cacert", certificate, "-o", str(to), f"{self.url}/{_FILE}"]
        hf = str(Path(sys.executable).with_name("hf"))
        return [*inside, hf, "download", "--quiet", "--local-dir", str(to), "acme/bench", "model.gguf"]

    def _certificate(self) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", "/CN=source", "-addext", f"subjectAltName=IP:{self.source.address}"),
                *("-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "certificate.pem")),
            ],
            check=True,
            capture_output=True,
        )

    @property
    def paid(self) -> int:
        """Bytes that the source has sent."""
        return int(Path("/sys/class/net", f"{self.source.name}v", "statistics/rx_bytes").read_text())

    @property
    def sent(self) -> int:
        """Bytes that this machine has sent to hosts."""
        return int(Path("/sys/class/net", self.slot.bridge, "statistics/tx_bytes").read_text())


def _limit(device: str, megabits: float) -> None:
    """So much leaves by a device, and no more; its queue holds a tenth of a second."""
    rate = ["rate", f"{megabits}mbit", "burst", "128kb", "latency", "100ms"]
    subprocess.run(["tc", "qdisc", "add", "dev", device, "root", "tbf", *rate], check=True)


class Memory(threading.Thread):
    """The most memory that an agent had on any of the hosts."""

    def __init__(self, hosts: Sequence[TestHost]) -> None:
        super().__init__(daemon=True)
        self._networks = {Path(f"/proc/{host.init}/ns/net").readlink() for host in hosts}
        self.most, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(_CAUGHT_UP):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (folder / "ns/net").readlink() in self._networks and b"python" in (
                        folder / "cmdline"
                    ).read_bytes():
                        held = (folder / "status").read_text().partition("VmHWM:")[2].split()
                        self.most = max(self.most, int(held[0]) << 10)


def measure(count: int, options: argparse.Namespace) -> None:
    """Every case on hosts of its own number, told as it comes."""
    slot = take_slot()
    folder = Path(tempfile.mkdtemp(prefix="deploy-bench-"))
    try:
        field = Field(slot, folder, count, options.megabytes, options.line, options.laptop)
        with field.serving():
            for name in options.cases.split(","):
                ask = field.case(name)
                line = min(options.line, options.laptop) if name in _UP else options.line
                floor = options.megabytes * (1 << 20) * 8 / (line * 1e6)
                sent, paid, memory = field.sent, field.paid, Memory(field.hosts)
                if name in _OURS:
                    memory.start()
                began = time.perf_counter()
                ask()
                took = time.perf_counter() - began
                memory.over.set()
                up, of_source = (
                    (now - then) / (options.megabytes << 20) for now, then in ((field.sent, sent), (field.paid, paid))
                )
                held = f"{memory.most / 1e6:.0f} MB" if memory.most else ""
                line_ = (
                    f"{count:>5}  {name:<10}{took:>8.1f} s{took / floor:>8.2f}{up:>12.2f}{of_source:>13.2f}{held:>10}"
                )
                print(line_, flush=True)
    finally:
        slot.release()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--hosts", default="1,4,16")
    parser.add_argument("--line", type=float, default=100, help="of each host, Mbit/s")
    parser.add_argument("--laptop", type=float, default=40, help="upwards, for all hosts together, Mbit/s")
    parser.add_argument("--cases", default="source,ship,own file,rsync,curl,hf")
    options = parser.parse_args()
    print(f"{options.megabytes} MiB, {options.line:g} Mbit/s to each host, {options.laptop:g} up the laptop's line; ")
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"hosts  {'case':<10}{'time':>10}{'x floor':>8}{'copies up':>12}{'of the source':>13}{'agent':>10}")
    for count in map(int, options.hosts.split(",")):
        measure(count, options)


if __name__ == "__main__":
    main()

"""How long many programs take to deploy, against what their supervisor itself needs to start as many (the floor).

    python -m benchmarks.many [--services 50,200,1000] [--platforms supervisord,systemd] [--against CHECKOUT]

Every second service listens on a port and has a check, the others have none. Cases: `new` (nothing was there),
`unchanged`, `all changed` (each is stopped and started anew), `down`. The floor starts the very same programs, by the
files that the deploy wrote, as an administrator would: `supervisorctl update` until all run, or `systemctl
daemon-reload` and one `systemctl start`. It ships, proves and remembers nothing. `before` is another checkout's
`deploy`. Needs root: the hosts are network namespaces with a root file system, sshd and a supervisor of their own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.testbed import Kind, TestHost, take_slot

_SECONDS = 1800
_FIRST_PORT = 20000
_CONFIG = "/etc/supervisor/supervisord.conf"
# Small and quick to start, so that it is the supervisor and the deploy that are seen.
_LISTEN = (
    "socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);"
    "bind(S, sockaddr_in(shift, INADDR_LOOPBACK)) or die $!; listen(S, 9); close C while accept(C, S)"
)
_FILES = {"supervisord": ("/etc/supervisor/conf.d", "conf"), "systemd": ("/etc/systemd/system", "service")}
_STARTS = {
    "supervisord": "supervisorctl update >/dev/null;"
    " until [ $(supervisorctl status | grep -c ' RUNNING ') = {count} ]; do sleep 0.1; done",
    "systemd": "systemctl daemon-reload; cd {folder}; systemctl start many-s*.service",
}
_FORGETS = {
    "supervisord": "supervisorctl update >/dev/null",
    "systemd": "cd /root/aside; systemctl stop *.service; systemctl daemon-reload",
}


def declare(folder: Path, host: TestHost, platform: str, count: int, version: str) -> None:
    """The project: `count` services."""
    (folder / "id").write_bytes(host.identity.read_bytes())
    (folder / "id").chmod(0o600)
    (folder / "known_hosts").write_text(f"{host.address} {host.host_key}\n")
    (folder / "listen.pl").write_text(f"use Socket; {_LISTEN}\n")
    text = f"""\
[project]
name = "many"

[targets.here]
platform = "{platform}"
hosts = ["root@{host.address}"]
identity = "id"
path = "/workspace/many"
"""
    for number in range(count):
        text += f'\n[services.s{number}]\nenv = {{ VERSION = "{version}" }}\n'
        if number % 2:
            text += 'command = ["/bin/sleep", "1000000"]\n'
        else:
            text += f'command = ["perl", "listen.pl", "${{port}}"]\nport = {_FIRST_PORT + number}\n'
            text += 'switch = "in-place"\n'
            text += 'check = { tcp = "127.0.0.1:${port}", timeout = "60s" }\n'
    (folder / "deploy.toml").write_text(text)


def timed(deploy: Path, folder: Path, *words: str) -> float:
    """Seconds of `deploy …`.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    began = time.perf_counter()
    ran = subprocess.run([deploy, *words], cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    if ran.returncode != 0:
        raise RuntimeError((ran.stdout + ran.stderr)[-3000:])
    return time.perf_counter() - began


def floor(host: TestHost, platform: str, count: int) -> float:
    """Seconds that the supervisor needs for the programs that are there, from their files to the last that runs."""
    folder, suffix = _FILES[platform]
    aside = f"mkdir -p /root/aside; mv {folder}/many*.{suffix} /root/aside; {_FORGETS[platform]}"
    host.exec(["sh", "-c", aside], timeout=_SECONDS)
    host.exec(["sh", "-c", f"mv /root/aside/* {folder}"])
    began = time.perf_counter()
    host.exec(["sh", "-ec", _STARTS[platform].format(count=count, folder=folder)], timeout=_SECONDS)
    return time.perf_counter() - began


def measure(deploy: Path, platform: str, count: int) -> dict[str, float]:
    """Every case on a host of its own."""
    slot = take_slot()
    folder = Path(tempfile.mkdtemp(prefix="deploy-bench-"))
    try:
        host = TestHost(Kind(platform), slot)
        if platform == "supervisord":  # it holds three descriptors a program, and 1,024 at most where nothing is said
            host.exec(["sed", "-i", r"s/^\[supervisord\]$/[supervisord]\nminfds=8192/", _CONFIG])
            host.reboot()
        declare(folder, host, platform, count, "1")
        times = {"new": timed(deploy, folder, "up")}
        times["unchanged"] = timed(deploy, folder, "up")
        declare(folder, host, platform, count, "2")
        times["all changed"] = timed(deploy, folder, "up")
        times["floor"] = floor(host, platform, count)
        times["down"] = timed(deploy, folder, "down")
        return times
    finally:
        slot.release()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", default="50,200,1000")
    parser.add_argument("--platforms", default="supervisord,systemd")
    parser.add_argument("--against", type=Path, help="a checkout whose deploy is timed as well")
    parser.add_argument("--only-against", action="store_true", help="that one alone")
    options = parser.parse_args()
    deploys = {} if options.only_against else {"deploy": Path(sys.executable).with_name("deploy")}
    if options.against:
        deploys["before"] = options.against.resolve() / ".venv" / "bin" / "deploy"
    cases = ("floor", "new", "unchanged", "all changed", "down")
    print(f"{'services':>8}  {'platform':<12}{'':<8}" + "".join(f"{case:>20}" for case in cases))
    for platform in options.platforms.split(","):
        for count in map(int, options.services.split(",")):
            for name, deploy in deploys.items():
                times = measure(deploy, platform, count)
                shown = [f"{times[case]:.1f} s ({times[case] / times['floor']:.2f})" for case in cases]
                cells = "".join(f"{cell:>20}" for cell in shown)
                print(f"{count:>8}  {platform:<12}{name:<8}{cells}", flush=True)


if __name__ == "__main__":
    main()

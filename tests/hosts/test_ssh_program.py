"""What the user's own ssh is told, as ssh itself reads it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from provision.errors import HostKeyUnknown
from provision.hosts import parse_hosts
from provision.hosts.route import resolve
from provision.hosts.sandbox import Sandbox
from provision.hosts.ssh_program import configuration, talk

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here")

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8OGZRSZbWuXYaM8QHRlTBLwAhxlsvBpvpBB38gxzWn"


def means(file: Path, name: str) -> dict[str, list[str]]:
    """What ssh makes of a configuration for one host."""
    done = subprocess.run(["ssh", "-G", "-F", file, name], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def test_the_way_is_ours_and_what_else_the_user_wants_of_that_host_stays(tmp_path: Path) -> None:
    own = tmp_path / "own config"
    own.write_text(
        "Host gpu-03\n  HostName 203.0.113.7\n  ProxyJump jumper@203.0.113.1:2200\n  ForwardAgent yes\n"
        "  RemoteCommand tmux\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
    )
    (spec,) = parse_hosts(["ann@gpu-03:2222"], identity=tmp_path / "a key", known_hosts=[tmp_path / "known_hosts"])
    spec = replace(spec, ssh_config=(own,), use_agent=False)
    pins, file = tmp_path / "pins", tmp_path / "config"

    file.write_text(configuration(resolve(spec), pins, spec.ssh_config))
    read = means(file, "gpu-03")

    assert {key: read[key] for key in ("hostname", "port", "user", "stricthostkeychecking", "userknownhostsfile")} == {
        "hostname": ["203.0.113.7"],
        "port": ["2222"],
        "user": ["ann"],
        "stricthostkeychecking": ["true"],
        "userknownhostsfile": [str(pins)],
    }
    assert read["identityfile"] == [str(tmp_path / "a key")]
    assert (read["identitiesonly"], read["forwardagent"]) == (["yes"], ["yes"])
    assert read["hostkeyalias"] == ["[203.0.113.7]:2222"]
    assert read.get("remotecommand", ["none"]) == ["none"]
    assert read["proxyjump"] == ["deploy-0"]
    jump = means(file, "deploy-0")
    assert (jump["hostname"], jump["port"], jump["user"]) == (["203.0.113.1"], ["2200"], ["jumper"])
    assert jump["userknownhostsfile"] == [str(pins)]


def test_a_host_that_nobody_pinned_is_not_logged_in_to(tmp_path: Path) -> None:
    (spec,) = parse_hosts(["root@203.0.113.7"], known_hosts=[tmp_path / "none"], user_known_hosts=False)
    with pytest.raises(HostKeyUnknown, match=r"deploy host trust 203\.0\.113\.7"):
        talk(replace(spec, ssh_config=()), "true")


def test_it_gets_there_with_the_pinned_key_and_no_other(sandbox: Sandbox, tmp_path: Path) -> None:
    assert talk(sandbox.spec, "exit 7") == 7

    other = tmp_path / "known_hosts"
    name = sandbox.spec.known_hosts[0].read_text().split()[0]
    other.write_text(f"{name} {KEY}\n")
    assert talk(replace(sandbox.spec, known_hosts=(other, *sandbox.spec.known_hosts)), "exit 7") == 255

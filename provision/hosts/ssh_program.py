"""The user's own ssh, told the very way that we take: the same jumps, keys, ports and pinned host keys.

It reads a configuration made for it, ssh_config(5). What stands first there counts, so what is ours comes first; then
what the user's own files say of the rest, such as forwarding of the agent.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from provision.errors import HostKeyUnknown, UsageError
from provision.hosts.known_hosts import pinned, read_pins
from provision.hosts.login_shell import folded
from provision.hosts.route import Hop, resolve
from provision.hosts.spec import HostSpec


def talk(spec: HostSpec, script: str) -> int:
    """Log in on this terminal and run a script of sh there; the exit status, 255 where ssh itself failed.

    Raises:
        HostKeyUnknown: nobody pinned the key of the host, or of a jump.
        UsageError: there is no ssh here, or its configuration can't be used.
    """
    program = shutil.which("ssh")
    if program is None:
        raise UsageError("there is no ssh on this machine.", next_step="install OpenSSH's client")
    hops = resolve(spec)
    with tempfile.TemporaryDirectory(prefix="deploy-ssh-") as folder:
        pins, file = Path(folder) / "known_hosts", Path(folder) / "config"
        pins.write_text("".join(f"{line}\n" for hop in hops for line in _pins(hop)))
        file.write_text(configuration(hops, pins, spec.ssh_config))
        words = [program, "-F", str(file), "-t", "--", _called(hops, len(hops) - 1), folded(script)]
        return subprocess.run(words, check=False).returncode


def configuration(hops: Sequence[Hop], pins: Path, others: Sequence[Path]) -> str:
    """What ssh reads.

    Args:
        hops: the way, the host itself last.
        pins: the file with their keys.
        others: the user's own files.
    """
    blocks, before = [], "none"
    for number, hop in enumerate(hops):
        name = _called(hops, number)
        blocks.append([f"Host {name}", *(f"    {key} {value}" for key, value in _options(hop, pins, before))])
        before = name
    own = [f"    Include {_quoted(str(file.expanduser()))}" for file in others if file.expanduser().exists()]
    return "\n\n".join("\n".join(block) for block in [*blocks, ["Host *", *own]]) + "\n"


def _called(hops: Sequence[Hop], number: int) -> str:
    """What the user calls the host, so that their files mean it too; a jump has a name of ours."""
    own = re.sub(r":\d+$", "", hops[number].name)
    return own if number == len(hops) - 1 and re.fullmatch(r"\w[\w.-]*", own, re.ASCII) else f"deploy-{number}"


def _pins(hop: Hop) -> Iterator[str]:
    """The keys that count for a hop: those of the first file that names it, and what any file revokes."""
    files = read_pins(hop.known_hosts)
    found = pinned(files, hop.key_name)
    if not found:
        raise HostKeyUnknown("host key not known yet.", next_step=f"deploy host trust {hop.name}", host=hop.name)
    yield from (f"{hop.key_name} {entry.key.line}" for entry in found)
    revoked = (entry for entries in files for entry in entries if entry.marker == "@revoked")
    yield from (f"@revoked {entry.names} {entry.key.line}" for entry in revoked)


def _options(hop: Hop, pins: Path, before: str) -> list[tuple[str, str]]:
    found = [
        ("HostName", hop.address),
        ("Port", str(hop.port)),
        ("User", _quoted(hop.user)),
        ("HostKeyAlias", hop.key_name),
        ("StrictHostKeyChecking", "yes"),
        ("UserKnownHostsFile", _quoted(str(pins))),
        ("GlobalKnownHostsFile", "none"),
        ("KnownHostsCommand", "none"),
        ("UpdateHostKeys", "no"),
        ("CanonicalizeHostname", "no"),
        ("RemoteCommand", "none"),
        ("IdentityAgent", _quoted(hop.agent) if hop.agent else "none"),
        ("IdentitiesOnly", "yes" if hop.only_identities else "no"),
        *(("IdentityFile", _quoted(str(file))) for file in hop.identities),
        *(("CertificateFile", _quoted(str(file))) for file in hop.certificates),
    ]
    if hop.proxy_command:
        return [*found, ("ProxyCommand", hop.proxy_command.replace("%", "%%"))]
    return [*found, ("ProxyJump", before)]


def _quoted(value: str) -> str:
    """An argument of ssh's configuration, in which `%` begins a token."""
    return '"' + value.replace("%", "%%") + '"'

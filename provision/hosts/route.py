"""How to get to a host: the jumps on the way, as `~/.ssh/config` and the declaration say.

Each jump is a hop of its own, with its own user, keys and pinned host key; ssh_config(5), "ProxyJump".
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.hosts import ssh_config
from provision.hosts.known_hosts import lookup_name
from provision.hosts.spec import USER_KNOWN_HOSTS, HostSpec
from provision.hosts.ssh_config import Options, default_known_hosts
from provision.hosts.ssh_config_alone import path_of

_MOST_JUMPS = 8
_KNOWN_HOSTS = dict(zip(USER_KNOWN_HOSTS, ("userknownhostsfile", "globalknownhostsfile"), strict=True))
_WITH_TOKENS = {"identityfile", "certificatefile", "identityagent", "proxycommand", *_KNOWN_HOSTS.values()}
_TOKEN = re.compile(r"%(.)|\$\{(\w+)\}")
_PERCENT = re.compile(r"%(.)()")  # the shell reads the rest of a command


@dataclass(frozen=True)
class Hop:
    """One SSH connection of a route, with nothing left to decide.

    Attributes:
        key_name: the name that known_hosts files keep the host under.
        identities: key files to try, or their public halves, whose others the agent has; `only_identities` forbids
            other keys of the agent.
        certificates: of keys, each shown with the key that it is for.
        agent: the socket of the SSH agent; empty for none.
        proxy_command: a local command whose input and output are the connection; empty for none.
    """

    name: str
    address: str
    port: int
    user: str
    key_name: str
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]
    only_identities: bool
    declared_identity: bool
    certificates: tuple[Path, ...]
    agent: str
    connect_timeout: float
    proxy_command: str = ""


def resolve(spec: HostSpec) -> tuple[Hop, ...]:
    """The hops to `spec`, the last one being the host itself.

    Raises:
        UsageError: ssh's configuration cannot be read, or its jumps go in a circle.
    """
    hops: list[Hop] = []
    _resolve(spec, hops, depth=0)
    return tuple(hops)


def _resolve(spec: HostSpec, hops: list[Hop], *, depth: int, follow: bool = True) -> None:
    if depth > _MOST_JUMPS:
        raise UsageError(f"the way to {spec.name} has more than {_MOST_JUMPS} jumps", next_step="see ProxyJump in ssh")
    options = ssh_config.options(spec)
    jumps = options.get("proxyjump", ["none"])[0] if follow else "none"
    if jumps.lower() != "none":
        for number, jump in enumerate(jumps.split(",")):
            # Only the first jump of a list may need jumps of its own; the others are reached through the one before.
            _resolve(_jump(jump.strip(), spec), hops, depth=depth + 1, follow=number == 0)
    address = options.get("hostname", [spec.address])[0]
    port = int(options.get("port", ["22"])[0])
    user = options.get("user", [""])[0] or _me()
    alias = options.get("hostkeyalias", [""])[0].lower()
    tokens = {"%": "%", "d": str(path_of("~")), "h": address, "n": spec.address, "p": str(port), "r": user}
    tokens |= {"k": alias or address, "i": str(os.getuid()), "u": _me(), "l": socket.gethostname(), "j": jumps}
    tokens["L"] = tokens["l"].partition(".")[0]
    options = _expanded(options, tokens, spec)
    proxy_command = options.get("proxycommand", ["none"])[0] if jumps.lower() == "none" else "none"
    identities = _identities(spec, options)
    hops.append(
        Hop(
            name=spec.name,
            address=address,
            port=port,
            user=user,
            key_name=alias or lookup_name(address, port),
            known_hosts=_known_hosts(spec, options),
            identities=identities,
            certificates=_certificates(identities, options),
            declared_identity=spec.identity is not None,
            only_identities=spec.identity is not None or options.get("identitiesonly", ["no"])[0] == "yes",
            agent=_agent(spec, options),
            connect_timeout=_timeout(spec, options),
            proxy_command="" if proxy_command.lower() == "none" else proxy_command,
        )
    )


def _me() -> str:
    """This account's name; some have a number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _jump(text: str, spec: HostSpec) -> HostSpec:
    """A `ProxyJump` item, `[user@]host[:port]`, also as an ssh:// address."""
    text = text.removeprefix("ssh://")
    match = re.fullmatch(r"(?:(.+)@)?(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?", text)
    if match is None or text == spec.name:
        raise UsageError(f"ProxyJump {text} of {spec.name} in ssh's configuration is not a usable [user@]host[:port]")
    user, v6, host, port = match.groups()
    return HostSpec(
        name=text,
        address=v6 or host,
        user=user or "",
        port=int(port or 0),
        identity=None,
        known_hosts=spec.known_hosts,
        connect_timeout=spec.connect_timeout,
        ssh_config=spec.ssh_config,
        use_agent=spec.use_agent,
    )


def _known_hosts(spec: HostSpec, options: Options) -> tuple[Path, ...]:
    """The declared files; where the user's own count, the ones that ssh's configuration names instead of them."""
    files: list[Path] = []
    for file in spec.known_hosts:
        named = options.get(_KNOWN_HOSTS.get(file, ""), [""])[0].split()
        defaults = {f"{default}{number}" for default in (default_known_hosts(), file) for number in ("", 2)}
        files += [file] if defaults.issuperset(named) else [path_of(name) for name in named if name != "none"]
    return tuple(files)


def _identities(spec: HostSpec, options: Options) -> tuple[Path, ...]:
    if spec.identity is not None:
        return (spec.identity.expanduser(),)
    return tuple(path_of(name) for name in options.get("identityfile", []) if name != "none")


def _certificates(identities: tuple[Path, ...], options: Options) -> tuple[Path, ...]:
    """Those that are named, and those that lie beside a key; ssh_config(5), "CertificateFile"."""
    beside = (path.with_name(path.name.removesuffix(".pub") + "-cert.pub") for path in identities)
    named = (path_of(name) for name in options.get("certificatefile", []) if name != "none")
    return tuple(dict.fromkeys(path for path in (*named, *beside) if path.is_file()))


def _agent(spec: HostSpec, options: Options) -> str:
    """ssh_config(5), "IdentityAgent"."""
    where = options.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    if not spec.use_agent or where == "none":
        return ""
    if where == "SSH_AUTH_SOCK" or where.startswith("$"):
        return os.environ.get(where.removeprefix("$"), "")
    return str(path_of(where))


def _timeout(spec: HostSpec, options: Options) -> float:
    """ssh's is the user's own word; where it has no end, ours has."""
    seconds = options.get("connecttimeout", ["none"])[0]
    return float(seconds) if seconds not in ("none", "0") else spec.connect_timeout


def _expanded(options: Options, tokens: Mapping[str, str], spec: HostSpec) -> Options:
    """ssh_config(5), "TOKENS" and "ENVIRONMENT VARIABLES": ssh tells what it has read, not what it makes of that."""

    def meant(match: re.Match[str]) -> str:
        token, variable = match.groups()
        value = tokens.get(token) if token else os.environ.get(variable)
        if value is None:
            raise UsageError(f"ssh's configuration for {spec.name} has {match[0]}, which means nothing here")
        return value

    def expand(keyword: str, value: str) -> str:
        return (_PERCENT if keyword == "proxycommand" else _TOKEN).sub(meant, value)

    return {
        keyword: [expand(keyword, value) for value in values] if keyword in _WITH_TOKENS else values
        for keyword, values in options.items()
    }

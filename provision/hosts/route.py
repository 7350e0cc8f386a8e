"""How to get to a host: the jumps on the way, as `~/.ssh/config` and the declaration say.

Each jump is a hop of its own, with its own user, keys and pinned host key; ssh_config(5), "ProxyJump".
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.errors import UsageError
from provision.hosts.known_hosts import lookup_name
from provision.hosts.spec import USER_KNOWN_HOSTS, HostSpec

_MOST_JUMPS = 8
_MOST_INCLUDES = 16  # ssh's own depth limit
# The words of ssh's configuration that are read here: where none stands, its other lines decide nothing.
_WORDS = {"hostname", "port", "user", "connecttimeout", "proxyjump", "proxycommand"}
_WORDS |= {"identityfile", "identitiesonly", "hostkeyalias", "userknownhostsfile"}
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Hop:
    """One SSH connection of a route, with nothing left to decide.

    Attributes:
        key_name: the name that known_hosts files keep the host under.
        identities: key files to try; `only_identities` forbids other keys of the agent.
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
    use_agent: bool
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
    options = _options(spec)
    jumps = options.get("proxyjump", "none") if follow else "none"
    if depth > _MOST_JUMPS:
        raise UsageError(f"the way to {spec.name} has more than {_MOST_JUMPS} jumps", next_step="see ProxyJump in ssh")
    if jumps.lower() != "none":
        for number, jump in enumerate(jumps.split(",")):
            # Only the first jump of a list may need jumps of its own; the others are reached through the one before.
            _resolve(_jump(jump.strip(), spec), hops, depth=depth + 1, follow=number == 0)
    address = options.get("hostname", spec.address)
    port = int(options.get("port", 22))
    timeout = spec.connect_timeout
    if "connecttimeout" in options:
        timeout = min(timeout, float(options["connecttimeout"]))
    hops.append(
        Hop(
            name=spec.name,
            address=address,
            port=port,
            user=options.get("user", "") or getpass.getuser(),
            key_name=options["hostkeyalias"].lower() if "hostkeyalias" in options else lookup_name(address, port),
            known_hosts=_known_hosts(spec, options.get("userknownhostsfile", "")),
            identities=_identities(spec, list(options.get("identityfile", []))),
            only_identities=spec.identity is not None or options.get("identitiesonly", "no") == "yes",
            use_agent=spec.use_agent,
            connect_timeout=timeout,
            proxy_command=(options.get("proxycommand") or "") if jumps.lower() == "none" else "",
        )
    )


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


def _known_hosts(spec: HostSpec, configured: str) -> tuple[Path, ...]:
    """The declared files; where the user's own count, the ones that ssh's configuration names instead of them."""
    if not configured or USER_KNOWN_HOSTS[0] not in spec.known_hosts:
        return spec.known_hosts
    position = spec.known_hosts.index(USER_KNOWN_HOSTS[0])
    named = tuple(Path(name) for name in configured.split())
    return (*spec.known_hosts[:position], *named, *spec.known_hosts[position + 1 :])


def _identities(spec: HostSpec, configured: list[str]) -> tuple[Path, ...]:
    if spec.identity is not None:
        return (spec.identity.expanduser(),)
    if configured:
        return tuple(Path(name).expanduser() for name in configured)
    if not spec.ssh_config:
        return ()
    return tuple(path for name in _DEFAULT_KEYS if (path := Path.home() / ".ssh" / name).is_file())


def _options(spec: HostSpec) -> Mapping[str, Any]:
    """What ssh's configuration says about `spec`. The declared port and user stand first, and the first value wins."""
    declared = {name: str(value) for name, value in (("port", spec.port), ("user", spec.user)) if value}
    texts = {path: _text(path) for file in spec.ssh_config if (path := file.expanduser()).is_file()}
    words = {line.replace("=", " ").split()[0].lower() for text in texts.values() for line in text if line.strip(" =")}
    if not words & _WORDS:
        return declared  # and so the line is being made while the SSH library is imported
    from provision.hosts.ssh_library import allow_match_exec, paramiko

    if "match" in words:
        allow_match_exec()
    config = paramiko.SSHConfig()
    config.parse(f"{name} {value}" for name, value in declared.items())
    for file, text in texts.items():
        try:
            config.parse(text)
        except paramiko.ConfigParseError as error:
            raise UsageError(f"cannot read ssh's configuration {file}", why=str(error)) from error
    options: Mapping[str, Any] = config.lookup(spec.address)
    return options


def _text(file: Path) -> list[str]:
    try:
        return list(_lines(file, 0))
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read ssh's configuration {file}", why=str(error)) from error


def _lines(file: Path, depth: int) -> Iterator[str]:
    """The lines of `file`, with `Include` (which the library does not know) replaced by what it names."""
    if depth > _MOST_INCLUDES:
        raise OSError(f"Include goes more than {_MOST_INCLUDES} files deep at {file}")
    for line in file.read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().partition(" ")
        if key.lower() != "include":
            yield line
            continue
        for pattern in value.split():
            # ssh_config(5): a relative name is meant from the folder of the configuration.
            path = Path(pattern.strip('"')).expanduser()
            base = Path(path.anchor) if path.is_absolute() else file.parent
            for included in sorted(base.glob(str(path.relative_to(path.anchor)))):
                yield from _lines(included, depth + 1)

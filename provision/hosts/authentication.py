"""Which keys are shown to a host, and in which order.

Each refused key costs a round trip and counts against the server's MaxAuthTries (6 by default), so no key is tried
without a reason: a declared identity alone, or the configured files and then the agent's others.

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from provision.errors import Unreachable, UsageError
from provision.hosts.route import Hop
from provision.hosts.ssh_library import paramiko

AskPassphrase = Callable[[Path], str]

_ASK_TIMES = 3
_unlocked: dict[Path, paramiko.PKey] = {}
_unlocking = threading.Lock()


class HopKeys:
    """Authenticates one hop with public keys. What the library calls an authentication strategy."""

    def __init__(self, hop: Hop, ask_passphrase: AskPassphrase | None) -> None:
        self._hop = hop
        self._ask = ask_passphrase
        self.attempts = 0
        self._tried: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> Any:
        """Try key after key.

        Raises:
            Unreachable: the host accepts none of them, or wants more than a key.
        """
        with closing(_Agent(self._hop.agent)) as agent:
            accepted: list[str] = []
            for label, key in self._keys(agent):
                self.attempts += 1
                self._tried.append(f"{label} ({_fingerprint(key.asbytes())})")
                try:
                    more = transport.auth_publickey(self._hop.user, key)
                except paramiko.BadAuthenticationType as error:
                    accepted = list(error.allowed_types)
                    break
                except paramiko.AuthenticationException as error:
                    if "timeout" in str(error):
                        raise self._silent() from error
                    if not transport.is_active():
                        break
                    continue
                if not more:
                    return []
                accepted = list(more)
                break
        raise self._refused(accepted)

    def _silent(self) -> Unreachable:
        return Unreachable(
            f"{self._hop.address}:{self._hop.port} does not answer our key",
            why="The machine hangs, or asks a directory service that does.",
            next_step="restart the machine, or look at its console",
            host=self._hop.name,
        )

    def _refused(self, accepted: list[str]) -> Unreachable:
        hop = self._hop
        tried = ", ".join(self._tried) if self._tried else "no key: none is declared, in the agent, or in ~/.ssh"
        wants = f" It wants: {', '.join(accepted)}." if accepted else ""
        return Unreachable(
            f"{hop.user}@{hop.address}:{hop.port} accepts none of our keys.",
            why=f"Tried {tried}.{wants}",
            next_step='name the right key (identity = "..." in the target), or put it on the host with ssh-copy-id',
            host=hop.name,
        )

    def _keys(self, agent: _Agent) -> Iterator[tuple[str, paramiko.PKey]]:
        """Each key as it is shown: with the certificates that are for it, and alone."""
        certificates = [(path, _certificate(path)) for path in self._hop.certificates]
        for label, key in self._plain_keys(agent):
            body = _body(key.asbytes())
            for path, certificate in certificates:
                if body in certificate.key_blob:
                    key.public_blob = certificate
                    yield f"{label} with {path}", key
            key.public_blob = None
            yield label, key

    def _plain_keys(self, agent: _Agent) -> Iterator[tuple[str, paramiko.PKey]]:
        """Files that need no passphrase or that the agent holds, then the agent's others, then locked files."""
        hop = self._hop
        held = {key.blob: key for key in agent.get_keys()}
        locked: list[Path] = []
        used: set[bytes] = set()
        for path in hop.identities:
            is_public = _public_line(path) != b""
            key: paramiko.PKey | None = None
            is_locked = False
            try:
                key = None if is_public else _open(path, required=hop.declared_identity)
            except _Locked:
                is_locked = True
            label = str(path)
            if key is None and (key := held.get(_public_half(path))):
                label = f"{path} from the agent"
            if key is not None:
                used.add(key.asbytes())
                yield label, key
            elif is_locked:
                locked.append(path)
            elif hop.declared_identity:
                raise self._lacking(path, is_public=is_public)
        if not hop.only_identities:
            for blob, agent_key in held.items():
                if blob not in used:
                    yield f"{getattr(agent_key, 'comment', '') or 'a key'} from the agent", agent_key
        for path in locked:
            yield str(path), self._unlock(path)

    def _lacking(self, path: Path, *, is_public: bool) -> UsageError:
        if not is_public:
            return UsageError(f"there is no key {path}.", next_step="correct identity in the target")
        agent = self._hop.agent
        private = path.with_suffix("") if path.suffix == ".pub" else None
        if private and private.exists():
            return UsageError(
                f"{path} is the public half of a key, and what logs in is the private one beside it.",
                next_step=f"identity = {json.dumps(str(private))}",
            )
        return UsageError(
            f"{path} is the public half of a key whose other half is not at hand",
            why=f"The agent at {agent} does not hold it." if agent else "No SSH agent is known here (SSH_AUTH_SOCK).",
            next_step="ssh-add KEY, or name the private key as identity",
        )

    def _unlock(self, path: Path) -> paramiko.PKey:
        """The key in `path`; its passphrase is asked for once in a process, however many hosts need it."""
        with _unlocking:
            if path in _unlocked:
                return copy.copy(_unlocked[path])  # which certificate it is shown with is each hop's own
            if self._ask is None:
                raise Unreachable(
                    f"the key {path} is locked by a passphrase",
                    why="Nobody is here to type it.",
                    next_step=f"ssh-add {path}",
                    host=self._hop.name,
                )
            for _ in range(_ASK_TIMES):
                try:
                    key = paramiko.PKey.from_path(path, self._ask(path).encode())  # type: ignore[arg-type]
                except (ValueError, paramiko.SSHException):
                    continue
                _unlocked[path] = key
                return copy.copy(key)
        raise UsageError(f"the passphrase does not open {path}", why=f"Asked {_ASK_TIMES} times.")


class _Agent(paramiko.agent.AgentSSH):
    """The SSH agent that listens at `path`; one that can't be asked holds no keys, as for ssh."""

    def __init__(self, path: str) -> None:
        super().__init__()
        if not path:
            return
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]
        except (OSError, struct.error, paramiko.SSHException):
            connection.close()

    def close(self) -> None:
        """Hang up."""
        self._close()  # type: ignore[attr-defined]


class _Locked(Exception):
    """A passphrase locks a key."""


def _open(path: Path, *, required: bool) -> paramiko.PKey | None:
    """The key in `path`; `None` where it is absent, or of no use and not `required`."""
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        raise _Locked from None  # the library's way to say that it is encrypted
    except FileNotFoundError:
        return None
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        if required:
            odd = (
                error.strerror
                if isinstance(error, OSError)
                else "It is none that OpenSSH or OpenSSL writes, or one that was cut short"
            )
            raise UsageError(
                f"{path} cannot be used as a private key.",
                why=f"{odd}.",
                next_step="name the private key as identity in the target; `ssh-keygen -y -f KEY` reads one",
            ) from None
        return None


def _public_half(path: Path) -> bytes:
    """The public key that belongs to the private key in `path`, or nothing where neither file tells it.

    OpenSSH's PROTOCOL.key: cipher, kdf, kdf options, number of keys, and then the public key are not encrypted.
    """
    for public in (path, path.with_name(path.name + ".pub")):
        if blob := _public_line(public):
            return blob
    try:
        body = path.read_text().strip().splitlines()[1:-1]
        magic, _, rest = base64.b64decode("".join(body)).partition(b"openssh-key-v1\0")
    except (OSError, ValueError, IndexError):
        return b""
    if magic or not rest:
        return b""
    message = paramiko.Message(rest)
    for _ in range(3):
        message.get_string()
    message.get_int()
    return message.get_string()


def _public_line(path: Path) -> bytes:
    """The key in a file of public ones (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"); empty where it is none."""
    try:
        kind, encoded = path.read_text().split(maxsplit=2)[:2]
        blob = base64.b64decode(encoded)
        return blob if paramiko.Message(blob).get_text() == kind else b""
    except (OSError, ValueError, IndexError):
        return b""


def _certificate(path: Path) -> Any:
    try:
        return paramiko.pkey.PublicBlob.from_file(str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be used as a certificate", why=str(error)) from None


def _body(blob: bytes) -> bytes:
    """A public key without its type: so it stands in a certificate; OpenSSH's PROTOCOL.certkeys."""
    return blob[4 + int.from_bytes(blob[:4], "big") :]


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

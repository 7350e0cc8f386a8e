"""Which keys are shown to a host, and in which order.

Each refused key costs a round trip and counts against the server's MaxAuthTries (6 by default), so no key is tried
without a reason: a declared identity alone, or the configured files and then the agent's others.

Heavy: imported when a connection is made, never before.
"""

from __future__ import annotations

import base64
import hashlib
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
        with closing(paramiko.Agent()) if self._hop.use_agent else closing(_NoAgent()) as agent:
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

    def _keys(self, agent: paramiko.Agent | _NoAgent) -> Iterator[tuple[str, paramiko.PKey]]:
        """Files that need no passphrase or that the agent holds, then the agent's others, then locked files."""
        held: dict[bytes, paramiko.PKey] | None = None
        locked: list[Path] = []
        used: set[bytes] = set()
        for path in self._hop.identities:
            if (key := _open(path, required=self._hop.only_identities)) is not None:
                used.add(key.asbytes())
                yield str(path), key
                continue
            if not path.is_file():
                continue
            held = held if held is not None else {key.asbytes(): key for key in agent.get_keys()}
            blob = _public_half(path)
            if blob in held:
                used.add(blob)
                yield f"{path} from the agent", held[blob]
            else:
                locked.append(path)
        if not self._hop.only_identities:
            for key in agent.get_keys():
                if key.asbytes() not in used:
                    yield f"{getattr(key, 'comment', '') or 'a key'} from the agent", key
        for path in locked:
            yield str(path), self._unlock(path)

    def _unlock(self, path: Path) -> paramiko.PKey:
        """The key in `path`; its passphrase is asked for once in a process, however many hosts need it."""
        with _unlocking:
            if path in _unlocked:
                return _unlocked[path]
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
                return key
        raise UsageError(f"the passphrase does not open {path}", why=f"Asked {_ASK_TIMES} times.")


class _NoAgent:
    def get_keys(self) -> tuple[paramiko.PKey, ...]:
        return ()

    def close(self) -> None:
        """There is nothing to close."""


def _open(path: Path, *, required: bool) -> paramiko.PKey | None:
    """The key in `path`, or `None` where a passphrase locks it (or where it is absent and not `required`)."""
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return None  # the library's way to say that it is encrypted
    except FileNotFoundError:
        if required:
            raise UsageError(f"there is no key {path}", next_step="correct identity in the target") from None
        return None
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        if required:
            raise UsageError(
                f"{path} cannot be used as a private key", why=str(error) or type(error).__name__
            ) from None
        return None


def _public_half(path: Path) -> bytes:
    """The public key that belongs to the private key in `path`, or nothing where neither file tells it.

    OpenSSH's PROTOCOL.key: cipher, kdf, kdf options, number of keys, and then the public key are not encrypted.
    """
    public = path.with_name(path.name + ".pub")
    try:
        if public.is_file():
            return base64.b64decode(public.read_text().split()[1])
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


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

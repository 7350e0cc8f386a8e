"""Who we are to a registry: `REGISTRY_TOKEN`, ~/.docker/config.json, credential helpers.

`docker login` writes the file (docker-login(1), "Credential stores"): `auths` with a Base64 pair or an identity token,
`credHelpers` by registry, `credsStore` for the rest. Helpers speak the protocol of docker-credential-helpers: the
registry on stdin, JSON on stdout, the user name `<token>` for an identity token.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.errors import UsageError
from provision.images.registry.reference import HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_SECONDS = 30  # one that asks a person may take a while
_NOT_FOUND = "credentials not found"  # what every helper says for a registry it does not know


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or an identity token (then `user` is empty)."""

    user: str
    secret: str = field(repr=False)
    source: str  # where it was found, for sentences

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def find(registry: str, *, own_token: bool, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Credentials for `registry`, or None where nobody logged in.

    Args:
        own_token: whether `REGISTRY_TOKEN` is meant for this registry. One token for two registries would show the one
            what opens the other, so only the one that is written to gets it, or the one that `REGISTRY_HOST` names.

    Raises:
        UsageError: the file or a helper is there and not usable.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("REGISTRY_HOST", "")
    if environ.get("REGISTRY_TOKEN") and (named == registry if named else own_token):
        # GHCR takes any user name beside a token; others want the real one.
        return Credentials(environ.get("REGISTRY_USER") or "token", environ["REGISTRY_TOKEN"], "REGISTRY_TOKEN")
    file = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is not an object")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read.", why=str(error), next_step=f"docker login {registry}") from None
    key = _HUB_KEY if registry == HUB else registry
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if helper and (found := _ask(str(helper), key, environ)):
        return found
    for name, entry in (config.get("auths") or {}).items():
        if name == key or _host(name) == key:
            return _entry(entry, file, registry)
    return None


def _host(name: str) -> str:
    """Old versions of docker wrote addresses where registries stand today."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _entry(entry: Mapping[str, Any], file: Path, registry: str) -> Credentials | None:
    if entry.get("identitytoken"):
        return Credentials("", str(entry["identitytoken"]), str(file))
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password", "")), str(file))
    if not entry.get("auth"):
        return None
    try:
        user, colon, secret = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise UsageError(
            f"{file}: the entry of {registry} is not user:password in Base64.", next_step=f"docker login {registry}"
        )
    return Credentials(user, secret.rstrip("\0"), str(file))


def _ask(helper: str, key: str, environ: Mapping[str, str]) -> Credentials | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
            env=dict(environ),
        )
    except FileNotFoundError:
        raise UsageError(
            f"{program} is not installed.", why="~/.docker/config.json says that it keeps the passwords."
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{program} did not answer in {_HELPER_SECONDS} s.") from None
    if done.returncode:
        # Helpers write their message to stdout.
        said = (done.stdout + done.stderr).strip()
        if _NOT_FOUND in said:
            return None
        raise UsageError(f"{program} failed for {key}.", why=said.splitlines()[-1] if said else "")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        # The answer is not quoted: it may hold the password.
        raise UsageError(f"{program} answered for {key}, but not with a user and a secret.") from None
    return Credentials("" if user == "<token>" else user, secret, program)

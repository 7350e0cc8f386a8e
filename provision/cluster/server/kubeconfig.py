"""Where a cluster is and who asks, found as kubectl finds it: the target's `kubeconfig`, $KUBECONFIG, ~/.kube/config.

Of several files in $KUBECONFIG, what the first says of a name counts, files that are not there are passed over, and
paths in a file are relative to its own folder (kubernetes.io, "Merging kubeconfig files"). Where $KUBECONFIG is set,
~/.kube/config is not looked at: it may be of another cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import yaml
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, KubeConfig, to_mapping
from lightkube.config.models import Cluster, Context, NameValue, User
from lightkube.core.exceptions import ConfigError

from provision.errors import Refused, UsageError

_LOGIN_SECONDS = 300  # somebody may have to type or click
# lightkube waits for such a program without an end. What this one starts may outlive it, with its pipes.
_WITHIN = """\
import subprocess, sys
seconds, *words = sys.argv[1:]
try:
    done = subprocess.run(words, capture_output=True, timeout=float(seconds))
except subprocess.TimeoutExpired:
    sys.exit(f"{words[0]} did not end in {seconds} s")
except OSError as error:
    sys.exit(f"{words[0]}: {error.strerror}")
sys.stdout.buffer.write(done.stdout)
sys.stderr.buffer.write(done.stderr)
sys.exit(done.returncode and f"{words[0]} ended with status {done.returncode}")
"""


class Spoken(Cluster):
    """With what lightkube does not read of how a server is spoken to."""

    proxy: str | None = msgspec.field(name="proxy-url", default=None)
    server_name: str | None = msgspec.field(name="tls-server-name", default=None)


class Login(User):
    """With what lightkube does not read of who asks."""

    impersonates: str | None = msgspec.field(name="as", default=None)
    groups: list[str] = msgspec.field(name="as-groups", default_factory=list)
    uid: str | None = msgspec.field(name="as-uid", default=None)
    extra: dict[str, list[str]] = msgspec.field(name="as-user-extra", default_factory=dict)


def chosen(context: str | None, kubeconfig: Path | None) -> Any:
    """What is to be used: lightkube's `SingleConfig`.

    Raises:
        UsageError: there is no kubeconfig, no such context, or no such way to log in on this machine.
    """
    found = [path for path in _named(kubeconfig) if path.is_file()]
    if not found:
        raise UsageError(
            f"there is no kubeconfig: {_named(kubeconfig)[0]} is no file.",
            next_step='set KUBECONFIG, or kubeconfig = "…" in the target',
        )
    merged = KubeConfig(clusters={}, contexts={}, users={}, fname=found[0])
    for path in found:
        _merge(merged, path)
    where = " and ".join(map(str, found))
    if context and context not in merged.contexts:
        alike = get_close_matches(context, merged.contexts, 1)
        hint = f' Did you mean "{alike[0]}"?' if alike else ""
        raise UsageError(
            f'{where} has no context "{context}".{hint}',
            why=f"It has {', '.join(merged.contexts) or 'none'}.",
            next_step="kubectl config get-contexts",
        )
    try:
        single = merged.get(context_name=context)
    except (ConfigError, KeyError) as error:
        raise UsageError(f"{where}: {error}", next_step="kubectl config get-contexts") from None
    if single is None:
        raise UsageError(f"{where} says no current context.", next_step='context = "…" in the target')
    if single.user:
        _prepare_login(single.user, where)
    return single


def take_certificate(user: User, server: str) -> bool:
    """Have the certificate that the program which logs in gives instead of a token; whether it is such a program.

    It is read once: one that ends in the middle of a long command has to be asked for by the next.

    Raises:
        Refused: it fails, or gives nothing that anybody could log in with.
    """
    if not (login := user.exec):
        return False
    environ = {**os.environ, **{each.name: each.value for each in login.env or ()}}
    command, said = [login.command, *(login.args or ())], ""
    named = command[len(_within())]
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stderr.strip()
        status = json.loads(done.stdout)["status"]
        parts = [status[f"client{which}Data"].encode() for which in ("Certificate", "Key")]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise Refused(
            f"nobody could be logged in to {server}: {named} gives no token, and no certificate.",
            why=said,
            next_step="log in to the cluster anew, until kubectl get pods works",
        ) from None
    user.client_cert_data, user.client_key_data = (b64encode(part).decode() for part in parts)
    user.exec = None
    return True


def words(kubeconfig: Path | None) -> list[str]:
    """The options of kubectl with which it finds the same; none where it has its own environment for that."""
    return ["--kubeconfig", str(kubeconfig)] if kubeconfig else []


def _named(kubeconfig: Path | None) -> list[Path]:
    if kubeconfig:
        return [kubeconfig]
    given = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return given or [Path(DEFAULT_KUBECONFIG).expanduser()]


def _merge(into: KubeConfig, path: Path) -> None:
    try:
        told = yaml.safe_load(path.read_text())
        config = KubeConfig(
            current_context=told.get("current-context"),
            clusters=to_mapping(told["clusters"], "cluster", factory=Spoken),
            contexts=to_mapping(told["contexts"], "context", factory=Context),
            users=to_mapping(told.get("users") or [], "user", factory=Login),
        )
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no kubeconfig: {error}", next_step="kubectl config view") from None
    for cluster in config.clusters.values():
        cluster.certificate_auth = _absolute(cluster.certificate_auth, path)
    for user in config.users.values():
        user.client_cert = _absolute(user.client_cert, path)
        user.client_key = _absolute(user.client_key, path)
        user.token_file = _absolute(user.token_file, path)
        if user.exec and os.sep in user.exec.command:
            user.exec.command = str(_absolute(user.exec.command, path))
    into.clusters = {**config.clusters, **into.clusters}
    into.contexts = {**config.contexts, **into.contexts}
    into.users = {**config.users, **into.users}
    into.current_context = into.current_context or config.current_context


def _prepare_login(user: User, where: str) -> None:
    """Have the program that logs in run as kubectl runs it.

    lightkube knows its versions before v1, whose answer has the same token, and does not tell it which is meant.
    """
    if user.token_file and not Path(user.token_file).is_file():
        raise UsageError(f"{where}: there is no token in {user.token_file}.", next_step="kubectl config view")
    if not (login := user.exec):
        return
    if shutil.which(login.command) is None:
        raise UsageError(
            f"{where} logs in by {login.command}, which is not installed.",
            why=login.installHint or "",
            next_step="install it, until kubectl get pods works",
        )
    told = {"apiVersion": login.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    login.env = [*(login.env or ()), NameValue("KUBERNETES_EXEC_INFO", json.dumps(told))]
    login.command, login.args = _within()[0], [*_within()[1:], login.command, *(login.args or ())]
    login.apiVersion = (
        login.apiVersion.replace("/v1", "/v1beta1") if login.apiVersion.endswith("/v1") else login.apiVersion
    )


def _within() -> list[str]:
    """What stands before a program that logs in, so that it ends."""
    return [sys.executable, "-I", "-S", "-c", _WITHIN, str(_LOGIN_SECONDS)]


def _absolute(name: str | None, beside: Path) -> str | None:
    return str(beside.absolute().parent / name) if name else name

"""One run of a room in `fab`: which project and hosts it means, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import Connection
from fabric.main import program
from invoke.context import Context
from invoke.exceptions import Exit

from provision import errors
from provision.cli.session import Session
from provision.tasks.connection import PinnedConnection

if TYPE_CHECKING:
    from invoke.config import Config


@contextmanager
def session_of(
    context: Context, target: str, folder: str, hosts: Sequence[str] | None = None, *, secrets: bool = False
) -> Iterator[Session]:
    """What a room works with.

    Args:
        context: a connection means its host; another context all hosts of the target.
        target, folder: as given; else `deploy.target` and `deploy.folder` of Fabric's configuration, the latter seen
            from the fabfile, whose own folder is the last resort.
        hosts: named instead of those of `context`.
        secrets: whether the values of the project's secrets are needed.

    Raises:
        Exit: what failed, as sentences, with the exit code of `deploy`.
    """
    configured = context.config.get("deploy", {})
    if hosts is None:
        hosts = [named(context)] if isinstance(context, Connection) else []
    with (
        as_exits(),
        Session(
            directory=Path(folder or _beside_the_fabfile(configured.get("folder") or "")),
            target=target or configured.get("target") or None,
            hosts=tuple(hosts),
            secrets=secrets,
        ) as session,
    ):
        yield session


@contextmanager
def as_exits() -> Iterator[None]:
    """Failures of ours end `fab` as Fabric's own do: sentences on stderr, no traceback, and our exit code.

    What is a bug keeps its traceback.
    """
    try:
        yield
    except errors.DeployError as error:
        raise Exit(str(error), int(error.exit)) from error
    except KeyboardInterrupt as error:
        raise Exit("interrupted", int(errors.Exit.INTERRUPTED)) from error


def _beside_the_fabfile(folder: str) -> str:
    """`fab` runs in subfolders of a project, too: it looks for the fabfile upwards."""
    collection = getattr(program, "collection", None)
    return os.path.relpath(Path(getattr(collection, "loaded_from", None) or ".", folder))


def named(connection: Connection) -> str:
    """A connection's host as `-H` has it, which is how a target has it: with the port, where one was given."""
    if isinstance(connection, PinnedConnection):
        return connection.declared
    host, port = connection.original_host, connection.port
    usual = int(connection.ssh_config.get("port", connection.config.port))
    return str(host) if port == usual else f"{host}:{port}"


def asked_for(config: Config) -> list[Connection]:
    """What `-H` of the running `fab` names, each once and in order; nothing is connected."""
    core: Any = getattr(program, "core", None)  # set once `fab` has read its command line
    words = (core[0].args.hosts.value or "").split(",") if core else []
    return [Connection(word, config=config) for word in dict.fromkeys(words) if word]

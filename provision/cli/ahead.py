"""Which host a verb will want, read without judging the declaration."""

from __future__ import annotations

import os
from pathlib import Path

from provision.agent import loader
from provision.errors import DeployError
from provision.hosts import SANDBOX, Ahead, declared_hosts
from provision.project import environment, template
from provision.project.toml import read_declaration


def connect_ahead(directory: Path, target: str, env_file: Path | None) -> Ahead | None:
    """Begin to connect to the only host of `target`; None where it has several, or not enough is sure yet.

    Whatever is wrong with the declaration is said by `provision.project.load`, with its place.
    """
    try:
        declared = read_declaration(directory).values["targets"][target]
        hosts = declared["hosts"]
        if not isinstance(hosts, list) or len(hosts) != 1:
            return None
        dotenv = env_file or directory / ".env"
        variables = environment.read(dotenv, str(dotenv), os.environ, required=False).variables
        entry, identity = (template.parse(text, variables).text for text in (hosts[0], declared.get("identity", "")))
        if entry == SANDBOX:  # no machine yet: it may have to be started
            return None
        (spec,) = declared_hosts(
            [entry],
            directory.resolve(),
            identity=identity,
            known_hosts=declared.get("known_hosts"),
            sudo=declared.get("sudo", False),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, DeployError):
        return None
    # Under sudo it is another command, and a password may have to be asked for first.
    return Ahead(spec, start=() if spec.sudo else loader.command(str(declared.get("python", "python3"))))

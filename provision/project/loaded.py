"""What loading gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provision.project.environment import Environment
from provision.project.secrets import Secrets
from provision.project.suspects import Suspect
from provision.project.toml import TomlFile

if TYPE_CHECKING:
    from provision.project.models import Model
    from provision.project.schema import Project


@dataclass(frozen=True)
class LoadedProject:
    """A project that can be deployed: judged, presets applied, variables replaced.

    Attributes:
        root: the folder of `deploy.toml`, absolute.
        declaration: `deploy.toml` as it was read.
        secrets: the values that the project's services name; empty where they were not asked for.
        environment: the variables that replaced references.
        suspects: variables that look like secrets, and are declared as none.
    """

    project: Project
    root: Path
    declaration: TomlFile
    secrets: Secrets
    environment: Environment
    suspects: tuple[Suspect, ...] = ()

    def token_of(self, model: Model) -> str:
        """What is shown where a declared model is; empty where nothing has to be."""
        return self.environment.variables.get(model.token, "") if model.token else ""

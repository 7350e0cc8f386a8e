"""What a release says of the deploy's own commands: its prepare step, and what runs once for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from provision.contract import tree
from provision.contract.release import CommandDocument, OnceDocument, PrepareDocument
from provision.contract.release import SecretPart as Secret
from provision.errors import UsageError
from provision.project.schema import Once, Prepare, Project
from provision.project.target import Target
from provision.project.template import Ref, SecretPart


def prepare(project: Project, target: Target, files: Mapping[str, tree.Entry]) -> PrepareDocument | None:
    if project.prepare is None or not target.prepare:
        return None
    if missing := [name for name in project.prepare.inputs if name not in files]:
        raise UsageError(
            f"the prepare step goes by {missing[0]}, which is not among the files that are shipped.",
            why="prepare.inputs in deploy.toml names it.",
            next_step="make it, or add it to project.include where it is ignored",
        )
    step: PrepareDocument = {
        **_command(project, target, project.prepare),
        "inputs": list(project.prepare.inputs),
        "outputs": list(project.prepare.outputs),
    }
    return step


def once(project: Project, target: Target) -> dict[str, OnceDocument]:
    documents: dict[str, OnceDocument] = {}
    for name, command in project.once.items() if target.once else ():
        document = cast("OnceDocument", _command(project, target, command))
        if command.undo:
            document["undo"] = list(command.undo)
        documents[name] = document
    return documents


def _command(project: Project, target: Target, step: Prepare | Once) -> CommandDocument:
    """What a command of the deploy's own is given."""
    known = {"path": target.path, "project": project.name}
    env = {name: value.fill(known) for name, value in step.env.items()}
    made = {name: value for name, value in env.items() if value.secrets}
    document: CommandDocument = {
        "command": list(step.command),
        "timeout": step.timeout,
        "secrets": [*step.secrets, *made],
        "env": {name: value.text for name, value in env.items() if name not in made},
    }
    if made:
        # The laptop puts them together, and hands them over as secrets; here stands what the release is made of.
        document["env_of_secrets"] = {name: [_part(part) for part in value.parts] for name, value in made.items()}
    return document


def _part(part: str | Ref | SecretPart) -> str | Secret:
    return {"secret": part.name} if isinstance(part, SecretPart) else str(part)

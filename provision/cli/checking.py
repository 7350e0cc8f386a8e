"""Whether a project is sound, told; `deploy check` and its task."""

from __future__ import annotations

from pathlib import Path

from provision.cli.production import exposed, report
from provision.cli.session import Session, declared_targets
from provision.errors import Exit, UsageError
from provision.manifests.refusals import refusals
from provision.project import load
from provision.project.located import declaration_error
from provision.project.schema import Project
from provision.project.traps import traps
from provision.release.engines import engines, unreadable


def _stale(project: Project, root: Path) -> str:
    """What is wrong with deploy.lock; empty where it is as it has to be, or none is wanted."""
    from provision.release import lock

    wanted = project.python and project.python.source == "environment"
    return lock.read(project.python, root).stale if wanted and project.python else ""


def check(session: Session, only: str | None, *, production: bool, sarif: Path | None) -> Exit:
    """Judge the project for all of its targets, or for the one named `only`.

    Args:
        production: by the checklist for production, too; its verdicts are then the answer.
        sarif: where to write what the checklist found.

    Raises:
        DeclarationError: something is wrong; says where.
        UsageError: `sarif` without `production`, or it cannot be written.
    """
    if sarif and not production:
        raise UsageError("--sarif writes what --production finds.", next_step="deploy check --production --sarif FILE")
    loaded = load(session.directory, target=only, demand_secrets=not production, ask_commands=False)
    if production:
        return report(session.console, loaded, sarif)
    project = loaded.project
    refused = refusals(project, project.targets.values(), loaded.root, loaded.secrets)
    refused += unreadable(project, loaded.root)
    if refused:
        raise declaration_error(refused, loaded.declaration)
    for problem in (*exposed(loaded), *loaded.declaration.problems(traps(project))):
        session.console.event({"event": "warning", "host": "", "text": str(problem)})
    if stale := _stale(project, loaded.root):
        session.console.event({"event": "warning", "host": "", "text": f"{stale}: deploy up makes it anew"})
    services = ", ".join(project.services)
    targets = ", ".join([only] if only else declared_targets(session.directory)) or "none"
    served = engines(project, loaded.root)
    session.console.answer(
        {
            "event": "result",
            "project": project.name,
            "services": [*project.services],
            "targets": [*project.targets],
            "engines": served,
        },
        [
            f"{project.name} is sound. Services: {services}. Targets: {targets}.",
            *(f"  {name}: {sentence}" for name, sentence in served.items()),
        ],
    )
    return Exit.DONE

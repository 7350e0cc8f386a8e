"""Whether a project is sound, told; `deploy check` and its task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from provision.cli.github.forks import given, is_fork
from provision.cli.production import exposed, report
from provision.cli.session import Session, declared_targets
from provision.errors import Exit, UsageError
from provision.manifests.refusals import refusals
from provision.project import load
from provision.project.here import missing_program
from provision.project.loaded import LoadedProject
from provision.project.located import declaration_error
from provision.project.lost import lost
from provision.project.schema import Project
from provision.project.traps import traps
from provision.release.engines import engines, unreadable
from provision.release.lacking import absent, lacking


def _stale(project: Project, root: Path) -> str:
    """What is wrong with deploy.lock; empty where it is as it has to be, or none is wanted."""
    from provision.release import lock

    wanted = project.python and project.python.source == "environment"
    return lock.read(project.python, root).stale if wanted and project.python else ""


def _warnings(loaded: LoadedProject) -> Iterator[str]:
    """What is no fault, and may be none that was meant."""
    project = loaded.project
    yield from map(str, (*exposed(loaded), *loaded.declaration.problems([*lost(project), *traps(project)])))
    yield from absent(project, project.services, loaded.root)
    if stale := _stale(project, loaded.root):
        yield f"{stale}: deploy up makes it anew"
    for hook in ("before_up", "after_up", "after_failure"):
        command = getattr(project.hooks, hook, None)
        if command and (said := missing_program(command, loaded.root)):
            yield f"hooks.{hook}[0]: {said}"


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
    allowed = given()
    loaded = load(
        session.directory,
        environ=allowed.environ,
        env_file=allowed.env_file,
        target=only,
        demand_secrets=not (production or is_fork()),
        ask_commands=False,
    )
    if production:
        return report(session.console, loaded, sarif)
    project = loaded.project
    refused = refusals(project, project.targets.values(), loaded.root, loaded.secrets)
    refused += unreadable(project, loaded.root)
    refused += lacking(project, project.targets.values(), loaded.root)
    if refused:
        raise declaration_error(refused, loaded.declaration)
    for text in _warnings(loaded):
        session.console.event({"event": "warning", "host": "", "text": text})
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

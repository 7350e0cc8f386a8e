"""`deploy check --production`: what the checklist has to know of a project, and its answer for people and programs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provision.cli import sarif
from provision.cli.console import Console
from provision.cli.sarif import Result
from provision.errors import Exit, Location, Problem, UnencodableValue, UsageError
from provision.manifests.kubernetes import files as kubernetes_files
from provision.platforms import face
from provision.project.fault import Fault, dotted
from provision.project.fault import Path as KeyPath
from provision.project.loaded import LoadedProject
from provision.project.located import located
from provision.project.presets import with_preset
from provision.project.production import RULES, EnvFile, Finding, Severity, Subject, Verdict, in_the_release, judge

_DAY = 24 * 60 * 60.0


def report(console: Console, loaded: LoadedProject, sarif_file: Path | None) -> Exit:
    """Judge the project, tell it, and write `sarif_file` where one is asked for.

    Raises:
        DeclarationError: what a target needs cannot be rendered; says where.
        UsageError: `sarif_file` cannot be written.
    """
    verdicts = judge(subject(loaded))
    found = results(loaded, verdicts)
    if sarif_file:
        try:
            sarif_file.write_text(sarif.text(RULES, found), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{sarif_file}: cannot be written.", why=f"{error.strerror}.") from None
    _tell(console, loaded.project.name, verdicts, found)
    return Exit.FAILED if any(verdict.word == Severity.FAIL for verdict in verdicts) else Exit.DONE


def subject(loaded: LoadedProject) -> Subject:
    """The project as production sees it: rendered, with the project's own templates, and `.env` looked at.

    Raises:
        DeclarationError: what a target needs cannot be rendered; says where.
    """
    project, root = loaded.project, loaded.root
    with located(loaded.declaration):
        rendered = {
            name: face(target.platform).files(project, target, root)
            for name, target in project.targets.items()
            if target.can.on_host
        }
    templates = root / "templates"
    return Subject(
        project=project,
        rendered=rendered,
        kubernetes=_kubernetes(loaded),
        overrides=tuple(sorted(path.relative_to(root).as_posix() for path in templates.glob("*/*.j2"))),
        env_file=env_file(root / ".env"),
        suspects=loaded.suspects,
        unsigned=tuple(_unsigned(root)),
    )


def _unsigned(root: Path) -> list[str]:
    if not (root / "promotion.toml").exists():
        return []
    from provision.images.promotion.declared import unsigned_images

    return unsigned_images(root)


def _kubernetes(loaded: LoadedProject) -> dict[str, str]:
    """What Kubernetes would get; nothing of a project that it cannot hold, which is then not meant for it."""
    try:
        return kubernetes_files(loaded.project, None, loaded.root)
    except UnencodableValue:
        return {}


def env_file(file: Path) -> EnvFile | None:
    """What is known of `file` without reading it; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    # In CI the checkout often belongs to another account, and git would then say nothing of it.
    trusting = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    asked = ["git", "-C", str(file.parent), *trusting, "ls-files", "--error-unmatch", "--", file.name]
    try:
        in_git = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # no git, no repository
        in_git = False
    return EnvFile(file.name, in_git, bool(status.st_mode & 0o077), (time.time() - status.st_mtime) / _DAY)


def results(loaded: LoadedProject, verdicts: list[Verdict]) -> list[Result]:
    """Every finding with its place."""
    return [
        Result(verdict.rule, problem)
        for verdict in verdicts
        for problem in _placed(loaded, verdict.findings, verdict.rule.fix)
    ]


def exposed(loaded: LoadedProject) -> list[Problem]:
    """What looks like a secret and would be part of a release: `deploy check` warns of it in any project."""
    found = [*in_the_release(Subject(loaded.project, suspects=loaded.suspects))]
    return _placed(loaded, found, 'Name the variable in secrets = ["…"].') if found else []


def _placed(loaded: LoadedProject, findings: Iterable[Finding], fix: str) -> list[Problem]:
    """One place is told once, whatever sees it."""
    declaration, elsewhere, faults = loaded.declaration, [], []
    for finding in findings:
        if finding.file:
            where = Location(os.path.relpath(loaded.root / finding.file), 1, 1)
            elsewhere.append(Problem(where, dotted(finding.path), finding.message, fix))
        else:
            faults.append(Fault(_as_written(finding.path, declaration.values["services"]), finding.message, fix))
    placed: dict[tuple[Location, str], Problem] = {}
    for problem in (*elsewhere, *declaration.problems(faults)):
        placed.setdefault((problem.location, problem.key), problem)
    return sorted(placed.values(), key=lambda problem: problem.location)


def _as_written(path: KeyPath, services: Mapping[str, Any]) -> KeyPath:
    """Where the file has it: of the words of a command, the last ones stand in `args`."""
    match path:
        case ("services", str(name), "command", int(index)):
            words = len(with_preset(services[name])["command"])
            return path if index < words else ("services", name, "args", index - words)
    return path


def _tell(console: Console, project: str, verdicts: list[Verdict], found: list[Result]) -> None:
    """The verdict of every rule, then how many of each kind there are."""
    for verdict in verdicts:
        problems = [result.problem for result in found if result.rule is verdict.rule]
        rule = verdict.rule
        event = {
            "event": "rule",
            "rule": rule.id,
            "verdict": verdict.word,
            "severity": rule.severity.value,
            "demands": rule.demands,
            "why": rule.why,
            "fix": rule.fix,
            "findings": [_fields(problem) for problem in problems],
        }
        console.answer(event, _lines(verdict, problems))
    counts = {word: sum(verdict.word == word for verdict in verdicts) for word in ("pass", "warn", "fail")}
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    console.answer({"event": "result", "project": project, **counts}, f"{project}: {said}.")


def _fields(problem: Problem) -> dict[str, object]:
    place = problem.location
    at = {"file": place.file, "line": place.line, "column": place.column}
    return {**at, "key": problem.key, "message": problem.message}


def _lines(verdict: Verdict, problems: list[Problem]) -> Iterator[str]:
    yield f"{verdict.word}  {verdict.rule.id}: {verdict.rule.demands}"
    for problem in problems:
        key = f"{problem.key}: " if problem.key else ""
        yield f"      {problem.location}: {key}{problem.message}"
    if problems:
        yield f"      why: {verdict.rule.why}"
        yield f"      fix: {verdict.rule.fix}"

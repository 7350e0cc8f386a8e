"""From `deploy.toml` and `.env` to a project, or to every problem in them at once.

The file is read, presets are put in, then pydantic judges each value and replaces variables. What it finds wrong is
taken out, so that the rules that span keys can judge the rest in the same run. Lines are looked up only where there
is something to report.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from provision.errors import DeclarationError, Location, Problem, UsageError
from provision.project import environment, sandbox
from provision.project.fault import Fault, dotted, nearest
from provision.project.fault import Path as KeyPath
from provision.project.finish import finish
from provision.project.loaded import LoadedProject
from provision.project.presets import presets, with_preset
from provision.project.rules import View, judge
from provision.project.schema import Declaration
from provision.project.secrets import Secrets
from provision.project.sentences import fault
from provision.project.values import MISSING_VARIABLE

FILE = "deploy.toml"
_GROUPS = ("services", "targets", "checks")


def load_project(
    directory: Path,
    *,
    environ: Mapping[str, str] | None,
    env_file: Path | None,
    target: str | None,
    without_targets: bool,
    demand_secrets: bool,
) -> LoadedProject:
    """See `provision.project.load`."""
    file = directory / FILE
    source = _source(file)
    written = _toml(source, _shown(file))
    dotenv = env_file or directory / ".env"
    variables = environment.read(
        dotenv, _shown(dotenv), os.environ if environ is None else environ, required=env_file is not None
    )
    unasked = _targets(written) if without_targets else _unasked(written, target)
    asked, faults = _validated(written, variables.variables, unasked)
    secrets, missing = _secrets(asked, variables.variables, _shown(dotenv)) if demand_secrets else (Secrets({}), [])
    faults += missing
    faults += sandbox.faults(asked.targets, directory.resolve()) if asked else ()
    problems = [*_located(faults, source, _shown(file)), *variables.problems]
    if problems or asked is None:
        raise DeclarationError(problems)
    asked = asked.model_copy(update={"targets": sandbox.at_home(asked.targets, directory.resolve())})
    return LoadedProject(finish(asked), directory.resolve(), file.resolve(), secrets, variables)


def _source(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")  # an editor's byte order mark is no mistake
    except FileNotFoundError:
        raise UsageError(f"{_shown(file)}: no such file.", next_step="deploy init") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(Location(_shown(file), line), "", "not UTF-8 text.", "Save the file as UTF-8.")
        raise DeclarationError([problem]) from None
    except OSError as error:
        raise UsageError(f"{_shown(file)}: cannot be read.", why=f"{error.strerror}.") from None


def _shown(file: Path) -> str:
    """`file` as a person in the current folder would name it."""
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _toml(source: str, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        from provision.project.positions import Positions

        duplicates = Positions(source).duplicates
        again = {duplicate.path for duplicate in duplicates}
        problems = [
            Problem(Location(shown, *found.place), dotted(found.path), f"given twice; first on line {found.first[0]}.")
            for found in duplicates
            if not any(found.path[:length] in again for length in range(len(found.path)))  # what is in a table, is too
        ]
        if problems:
            raise DeclarationError(problems) from None
        # tomllib says the place in words: "Invalid value (at line 3, column 8)", "… (at end of document)".
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        said = str(error)[: place.start()] if place else str(error)
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (source.count("\n") + 1, 0)
        hint = "Text stands in quotes." if said == "Invalid value" else ""
        hint = hint if place and place[1] else "Something is not closed."
        if said == "Cannot overwrite a value":
            said = "a key or table of this name was given before"
        message = f"not TOML: {said[:1].lower()}{said[1:].rstrip('.')}."
        raise DeclarationError([Problem(Location(shown, line, column), "", message, hint)]) from None


def _validated(
    written: dict[str, Any], variables: Mapping[str, str], unasked: set[KeyPath]
) -> tuple[Declaration | None, list[Fault]]:
    """What is sound and asked for, and everything wrong. Without any sound project there is nothing."""
    merged = dict(written)
    faults: list[Fault] = []
    if isinstance(written.get("services"), dict):
        merged["services"] = {name: with_preset(service) for name, service in written["services"].items()}
        faults += _unknown_presets(written["services"])
    if written.get("services") in (None, {}) and set(written) <= set(Declaration.model_fields):
        faults.append(Fault(("services",), "missing.", "Declare one: [services.NAME] with a command or a preset."))
    wrong: set[KeyPath] = {fault.path[:2] for fault in faults}
    try:
        Declaration.model_validate(merged, context=variables)
    except ValidationError as error:
        details = error.errors(include_url=False)
        inside = {detail["loc"][:-1] for detail in details}
        for detail in details:
            if detail["type"] == "too_short" and detail["loc"] in inside:
                continue  # pydantic counts only the sound entries; what is wrong with the others is said already
            wrong.add(detail["loc"][:2])
            # A variable that only another target needs is nobody's problem now.
            if not (detail["type"] == MISSING_VARIABLE and detail["loc"][:2] in unasked):
                faults.append(fault(detail, merged))
    try:
        sound = Declaration.model_validate(_without(merged, wrong | unasked), context=variables)
    except ValidationError:
        return None, faults
    view = View(sound.services, _names(merged, "services"), sound.targets, sound.checks, sound.prepare)
    return sound, [*faults, *judge(view)]


def _unknown_presets(services: dict[str, Any]) -> list[Fault]:
    return [
        Fault(("services", name, "preset"), f'no preset is called "{preset}".', nearest(preset, presets(), "presets"))
        for name, service in services.items()
        if isinstance(service, dict) and isinstance(preset := service.get("preset"), str) and preset not in presets()
    ]


def _unasked(written: Mapping[str, Any], target: str | None) -> set[KeyPath]:
    """The targets besides `target`, and the services that it does not run."""
    if target is None:
        return set()
    known = _names(written, "targets")
    if target not in known:
        hint = nearest(target, sorted(known), "targets") or f"Declare it: [targets.{target}]."
        raise UsageError(f'{FILE} has no target "{target}". {hint}')
    chosen = written["targets"][target]
    runs = chosen.get("services") if isinstance(chosen, dict) else None
    others = _targets(written) - {("targets", target)}
    if isinstance(runs, list):
        others |= {("services", name) for name in _names(written, "services") if name not in runs}
    return others


def _targets(written: Mapping[str, Any]) -> set[KeyPath]:
    return {("targets", name) for name in _names(written, "targets")}


def _names(written: Mapping[str, Any], group: str) -> frozenset[str]:
    entries = written.get(group)
    return frozenset(entries) if isinstance(entries, dict) else frozenset()


def _without(written: Mapping[str, Any], paths: set[KeyPath]) -> dict[str, Any]:
    """`written` without what stands at `paths` (one or two steps deep), and with a name whatever happens."""
    left = {key: value for key, value in written.items() if (key,) not in paths}
    for group in _GROUPS:
        if group in left:
            left[group] = {name: entry for name, entry in left[group].items() if (group, name) not in paths}
    if any(path[0] == "prepare" for path in paths):
        left.pop("prepare", None)
    if any(path[0] == "project" for path in paths):
        left["project"] = {"name": "unnamed"}
    return left


def _secrets(declared: Declaration | None, variables: Mapping[str, str], env_file: str) -> tuple[Secrets, list[Fault]]:
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for path, variable in _named_secrets(declared) if declared else ():
        if variables.get(variable):
            values[variable] = variables[variable]
            continue
        state = "is empty" if variable in variables else "is not set"
        hint = f"Add {variable}=… to {env_file}, or set it in the environment."
        faults.append(Fault(path, f"{variable} {state}.", hint))
    return Secrets(values), faults


def _named_secrets(declared: Declaration) -> Iterator[tuple[KeyPath, str]]:
    lists: list[tuple[KeyPath, tuple[str, ...]]] = []
    for name, service in declared.services.items():
        lists += [(("services", name, key), getattr(service, key)) for key in ("secrets", "secret_files")]
    targets = declared.targets.values()
    if declared.prepare and (not targets or any(target.prepare for target in targets)):
        lists.append((("prepare", "secrets"), declared.prepare.secrets))
    for path, names in lists:
        yield from (((*path, index), variable) for index, variable in enumerate(names))


def _located(faults: list[Fault], source: str, shown: str) -> list[Problem]:
    """`faults` with their places, in the order of the file."""
    if not faults:
        return []
    from provision.project.positions import Positions

    positions = Positions(source)
    placed = [(positions.key(fault.path) if fault.at_key else positions.value(fault.path), fault) for fault in faults]
    placed.sort(key=lambda entry: entry[0])
    return [Problem(Location(shown, *place), dotted(fault.path), fault.message, fault.hint) for place, fault in placed]

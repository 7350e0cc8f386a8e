"""From `deploy.toml` and `.env` to a project, or to every problem in them at once.

The file is read, presets are put in, then pydantic judges each value and replaces variables. What it finds wrong is
taken out, so that the rules that span keys can judge the rest in the same run. Lines are looked up only where there
is something to report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from provision.errors import DeclarationError, UsageError
from provision.project import sandbox
from provision.project.environment import Environment
from provision.project.fault import Fault, nearest
from provision.project.fault import Path as KeyPath
from provision.project.finish import finish
from provision.project.loaded import LoadedProject
from provision.project.presets import presets, with_preset
from provision.project.rules import Sound, judge, sharing, without_hosts
from provision.project.schema import Declaration
from provision.project.secret_names import alike, declared
from provision.project.secret_values import secret_values
from provision.project.secrets import Secrets
from provision.project.sentences import fault
from provision.project.suspects import suspects
from provision.project.template import Known
from provision.project.toml import DECLARATION, TomlFile, shown
from provision.project.values import MISSING_VARIABLE

_GROUPS = ("secrets", "services", "targets", "checks", "once", "models")


def load_project(
    directory: Path,
    declaration: TomlFile,
    variables: Environment,
    dotenv: Path,
    *,
    target: str | None,
    without_targets: bool,
    demand_secrets: bool,
    secrets_may_lack: bool = False,
    ask_commands: bool,
) -> LoadedProject:
    """What `provision.project.load` has read, judged."""
    written = declaration.values
    unasked = _targets(written) if without_targets else _unasked(written, target)
    merged, faults = _merged(written)
    known = _known(merged, variables.variables)
    asked, copies, found = _validated(written, merged, known, unasked, faults)
    values: dict[str, str] = {}
    env_file = shown(dotenv)
    if demand_secrets and asked and not found:
        values, missing = secret_values(asked, known, directory, env_file, target=target, ask_commands=ask_commands)
        # A command that fails is a fault all the same: whoever declared it wants its value.
        found += [each for each in missing if not secrets_may_lack or each.path[0] == "secrets"]
        if alike_more := alike(known.declared, variables.variables, values).keys() - known.alike.keys():
            # What a command gave is the value of a variable, too. Now it is known, and the variable a secret.
            known = _known(merged, variables.variables, values)
            asked, copies, again = _validated(written, merged, known, unasked, faults)
            found += again
            values |= {name: variables.variables[name] for name in alike_more}
    elif demand_secrets and asked and not secrets_may_lack:
        found += secret_values(asked, known, directory, env_file, target=target, ask_commands=False)[1]
    found += sandbox.faults(asked.targets, directory.resolve()) if asked else ()
    found += asked.python.missing(directory) if asked and asked.python else ()
    problems = [*declaration.problems(found), *variables.problems]
    if problems or asked is None:
        raise DeclarationError(problems)
    root = directory.resolve()
    asked = asked.model_copy(update={"targets": sandbox.at_home(asked.targets, root)})
    suspected = tuple(suspects(_without(merged, unasked), known))
    return LoadedProject(finish(asked, copies), root, declaration, Secrets(values), variables, suspected)


def _known(merged: Mapping[str, Any], variables: Mapping[str, str], values: Mapping[str, str] | None = None) -> Known:
    """The variables, and which of them are secrets; `values` are those that commands gave."""
    names = declared(merged)
    commands = merged.get("secrets")
    promised = frozenset(commands) if isinstance(commands, dict) else frozenset()
    return Known(variables, names, alike(names, variables, values or {}), promised)


def _merged(written: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """`written` with its presets, and what is wrong with those."""
    merged = dict(written)
    faults: list[Fault] = []
    if isinstance(written.get("services"), dict):
        merged["services"] = {name: with_preset(service) for name, service in written["services"].items()}
        faults += _unknown_presets(written["services"])
    if isinstance(written.get("targets"), dict):
        faults += [*without_hosts(written["targets"]), *sharing(written["targets"])]
    if written.get("services") in (None, {}) and set(written) <= set(Declaration.model_fields):
        faults.append(Fault(("services",), "missing.", "Declare one: [services.NAME] with a command or a preset."))
    return merged, faults


def _validated(
    written: Mapping[str, Any], merged: dict[str, Any], known: Known, unasked: set[KeyPath], faults: list[Fault]
) -> tuple[Declaration | None, dict[str, int], list[Fault]]:
    """What is sound and asked for, how many copies of it a host runs, and everything wrong, `faults` first.

    Without any sound project there is nothing.
    """
    faults = list(faults)
    wrong: set[KeyPath] = {fault.path[:2] for fault in faults}
    try:
        Declaration.model_validate(merged, context=known)
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
        sound = Declaration.model_validate(_without(merged, wrong | unasked), context=known)
    except ValidationError:
        return None, {}, faults
    copies = _copies(written, sound)
    view = Sound(
        services=sound.services,
        declared=_names(merged, "services"),
        targets=sound.targets,
        checks=sound.checks,
        prepare=sound.prepare,
        python=sound.python,
        once=sound.once,
        copies=copies,
        image=sound.project.image,
        hooks=sound.hooks,
        models=sound.models,
    )
    return sound, copies, [*faults, *judge(view)]


def _copies(written: Mapping[str, Any], sound: Declaration) -> dict[str, int]:
    """On hosts, of the services that run there more than once: those that say so themselves, whatever a preset says."""
    return {
        name: service.replicas
        for name, service in sound.services.items()
        if service.replicas > 1 and "replicas" in written["services"][name]
    }


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
        raise UsageError(f'{DECLARATION} has no target "{target}". {hint}')
    asked = {target, *_of_one_front(written["targets"], target)}
    chosen = [written["targets"][name] for name in asked if name in known]
    runs = [each.get("services") if isinstance(each, dict) else None for each in chosen]
    others: set[KeyPath] = {("targets", name) for name in known - asked}
    if all(isinstance(each, list) for each in runs):
        run = [name for each in runs for name in each or ()]
        others |= {("services", name) for name in _names(written, "services") if name not in run}
    return others


def _of_one_front(targets: Mapping[str, Any], target: str) -> Iterator[str]:
    """The front that leads to a target; or those that it leads to, being one."""
    fronts = {
        name: each["front"].get("target")
        for name, each in targets.items()
        if isinstance(each, dict) and isinstance(each.get("front"), dict)
    }
    yield from (name for name, front in fronts.items() if front == target)
    if isinstance(front := fronts.get(target), str):
        yield front


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
    for key in {str(path[0]) for path in paths} & {"prepare", "python", "hooks"}:
        left.pop(key, None)
    if any(path[0] == "project" for path in paths):
        left["project"] = {"name": "unnamed"}
    return left

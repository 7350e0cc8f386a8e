"""The files of a release: read, digested, and judged."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from provision.contract import tree
from provision.contract.names import ENVIRONMENT
from provision.engines import BUILT
from provision.errors import UsageError
from provision.project.python import LOCK
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.target import Target
from provision.project.toml import DECLARATION
from provision.release.ignore import Wanted, shipped
from provision.release.keys import is_secret
from provision.release.libraries import Beside, beside
from provision.release.model_file import ModelFile

_LONGEST_PATH = 4096 - 100  # bytes: limits.h, PATH_MAX, less what a host's folders of releases are called
_DEEPEST = 1000  # folders in each other: rsync 3.5 takes 1,024 at most
KNOWN_HOSTS = "known_hosts"  # where pinned host keys are, unless a target says otherwise


def read_files(
    project: Project,
    target: Target,
    root: Path,
    services: Mapping[str, Service],
    models: Mapping[str, tuple[ModelFile, ...]],
) -> tuple[dict[str, tree.Entry], list[Beside], list[str]]:
    """What is shipped for `services`, by path, which binaries bring libraries, and what the user should know about it.

    Raises:
        UsageError: something can't be read or must not be shipped, or a binary is missing.
    """
    binaries = {
        name: os.path.normpath(service.binary)
        for name, service in services.items()
        if service.binary and not service.binary.startswith("/")
    }
    libraries = [found for binary in sorted({*binaries.values()}) if (found := beside(root, binary)).files]
    linked = {path for parts in models.values() for model in parts for path in model.places}
    brought = {file for each in libraries for file in each.files}
    wanted = Wanted(project.include, frozenset({*binaries.values(), *brought}))
    entries: dict[str, tree.Entry] = {}
    warnings: list[str] = []
    identities = _identities(project, root)
    for path in shipped(root, wanted, frozenset(linked | _local(project, target))):
        whose = "" if wanted.names(path) else "opens a target" if path in identities else is_secret(root, path)
        if whose:
            warnings.append(f'not shipped: {path} {whose}; to ship it on purpose: [project] include = ["/{path}"]')
            continue
        _check_length(path, target)
        try:
            entries[path] = _entry(root, path, linked)
        except tree.NotAFile as odd:
            warnings.append(f"not shipped: {odd}")
    for name, binary in binaries.items():
        entry = entries.get(binary)
        executable = entry is not None and (entry.executable or not entry.sha256)
        check_binary(f"services.{name}.binary", binary, found=entry is not None, executable=executable)
    warnings += (
        f"{each.binary} looks for its libraries in {each.astray}, not beside itself, and would find none on a host: "
        "build it with -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN', as `deploy native build "
        "--profile dynamic` does, or give the service env.LD_LIBRARY_PATH"
        for each in libraries
        if each.astray
    )
    warnings += _dangling(entries, linked)
    return entries, libraries, warnings


def _check_length(path: str, target: Target) -> None:
    length, depth = len(os.fsencode(path)), path.count("/")
    if length + len(os.fsencode(target.path)) > _LONGEST_PATH:
        what = f"is too long for a host: {length} bytes below {target.path}"
    elif depth > _DEEPEST:
        what = f"is too deep for rsync: {depth} folders in each other, and {_DEEPEST} can be shipped"
    else:
        return
    raise UsageError(f"the path {path[:100]}… {what}", next_step="give it a shorter one, or add it to .deployignore")


def _local(project: Project, target: Target) -> set[str]:
    """What belongs to this machine or to the host alone, so that a change of it makes no new release."""
    # The rendered lanes hold what the declaration means, and trusting one more host must restart nothing.
    pins = {PurePosixPath(other.known_hosts or KNOWN_HOSTS) for other in project.targets.values()}
    left = {file.with_name(f".{file.name}.lock") for file in pins}  # by older versions, who locked those
    local = {DECLARATION, *map(str, pins | left)}
    if project.python:
        local |= {ENVIRONMENT, LOCK}  # the release's document says what is in its environment
    if project.prepare and target.prepare:
        local |= set(project.prepare.outputs)
    return {os.path.normpath(path) for path in local}


def _identities(project: Project, root: Path) -> set[str]:
    """The SSH keys of targets that lie in the project."""
    named = {target.identity.text for target in project.targets.values() if target.identity}
    files = {Path(os.path.normpath(root / Path(name).expanduser())) for name in named}
    return {file.relative_to(root).as_posix() for file in files if file.is_relative_to(root)}


def _entry(root: Path, path: str, linked: set[str]) -> tree.Entry:
    if path == tree.DOCUMENT:
        raise UsageError(
            f"{path} at the project's top has the name of the release's own document",
            next_step=f"rename it, or add /{path} to .deployignore",
        )
    try:
        path.encode()
        entry = tree.entry(os.fspath(root), path)
    except UnicodeEncodeError:
        raise UsageError(f"the name {path!r} is not UTF-8", next_step="rename the file, or ignore it") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read",
            why=error.strerror or str(error),
            next_step="make it readable, or add it to .deployignore",
        ) from None
    if entry.target and not _stays_inside(root, path, entry.target, linked):
        raise UsageError(
            f"{path} is a link to {entry.target}, which leaves the release",
            next_step="add it to .deployignore, or copy what it points at into the project",
        )
    return entry


def _stays_inside(root: Path, path: str, target: str, linked: set[str]) -> bool:
    within = _meant(path, target)
    if target.startswith("/") or within.split("/")[0] == "..":
        return False
    # The path may read well and still pass through another link; one to a model may, because ours replaces it.
    return within in linked or Path(os.path.realpath(root / path)).is_relative_to(root)


def _meant(path: str, target: str) -> str:
    return os.path.normpath(PurePosixPath(path).parent / target)


def check_binary(subject: str, binary: str, *, found: bool, executable: bool) -> None:
    """Raises UsageError where a service's own program can't be shipped, or not started."""
    if not found:
        raise UsageError(
            f"{subject}: {binary} is not among the files that are shipped",
            why="it does not exist, or lies outside the project",
            next_step="deploy native build" if binary == BUILT else f"put it there, or correct {subject}",
        )
    if not executable:
        raise UsageError(f"{subject}: {binary} may not be executed", next_step=f"chmod +x {binary}")


def _dangling(entries: Mapping[str, tree.Entry], linked: set[str]) -> Iterator[str]:
    links = [entry for entry in entries.values() if entry.target]
    if not links:
        return
    there = {*entries, *linked}
    there |= {os.fspath(folder) for path in there for folder in PurePosixPath(path).parents}
    for entry in links:
        if _meant(entry.path, entry.target) not in there:
            yield f"{entry.path} is a link to {entry.target}, which is not shipped"

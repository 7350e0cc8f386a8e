"""Which files of a project are shipped.

The rules are git's (gitignore(5)): files named `.gitignore` count in every folder, later and deeper lines win, and
nothing is looked for in an ignored folder. `.deployignore` has the same form and is asked first. `[project] include`
brings files back whatever those say. A few names are never shipped: they are secrets, or about this machine alone.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pathspec import GitIgnoreSpec

_RULE_FILES = (".deployignore", ".gitignore")  # in the order in which they are asked
NEVER = frozenset({".git", ".venv", ".deploy", "__pycache__", *_RULE_FILES})
_ENV_EXAMPLE = ".env.example"


@dataclass(frozen=True)
class _Rules:
    """The rules of one file, which speak of paths below its folder."""

    folder: str  # relative to the project, "" for its top
    spec: GitIgnoreSpec

    def say(self, path: str) -> bool | None:
        """Whether `path` (a folder's ends in "/") is ignored, brought back, or not mentioned."""
        return self.spec.check_file(path[len(self.folder) + 1 :] if self.folder else path).include


@dataclass(frozen=True)
class Wanted:
    """What is shipped although it is ignored: patterns as in .gitignore, and files by their exact paths."""

    patterns: tuple[str, ...]
    files: frozenset[str]

    def names(self, path: str) -> bool:
        return path in self.files or self._spec.match_file(path)

    def may_be_under(self, folder: str) -> bool:
        """Whether an ignored folder has to be looked into."""
        return any(file.startswith(f"{folder}/") for file in self.files) or any(
            _may_be_under(pattern, folder) for pattern in self.patterns
        )

    @cached_property
    def _spec(self) -> GitIgnoreSpec:
        return GitIgnoreSpec.from_lines(self.patterns)


def shipped(root: Path, wanted: Wanted, without: frozenset[str]) -> Iterator[str]:
    """Every path under `root` that is shipped and no folder, in a steady order.

    Args:
        without: paths, of files or folders, that are left out in any case.
    """
    return _walk(os.fspath(root), "", wanted, without, ((), ()), within_ignored=False)


_Stack = tuple[tuple[_Rules, ...], tuple[_Rules, ...]]  # for each kind of rule file, the deepest folder's first


def _walk(
    root: str, folder: str, wanted: Wanted, without: frozenset[str], above: _Stack, *, within_ignored: bool
) -> Iterator[str]:
    with os.scandir(f"{root}/{folder}") as found:
        entries = sorted(found, key=lambda entry: entry.name)
    stack = _deeper(root, folder, {entry.name for entry in entries}, above)
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if path in without or _never(entry.name):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        ignored = within_ignored or _ignored(stack, f"{path}/" if is_folder else path)
        if not is_folder:
            if not ignored or wanted.names(path):
                yield path
        elif not ignored or wanted.may_be_under(path):
            yield from _walk(root, path, wanted, without, stack, within_ignored=ignored)


def _never(name: str) -> bool:
    return name in NEVER or (name.startswith(".env") and name != _ENV_EXAMPLE)


def _deeper(root: str, folder: str, names: set[str], above: _Stack) -> _Stack:
    def stack(name: str, rules: tuple[_Rules, ...]) -> tuple[_Rules, ...]:
        if name not in names:
            return rules
        lines = Path(root, folder, name).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return (_Rules(folder, GitIgnoreSpec.from_lines(lines)), *rules)

    first, second = (stack(name, rules) for name, rules in zip(_RULE_FILES, above, strict=True))
    return first, second


def _ignored(stack: _Stack, path: str) -> bool:
    for rules in stack:
        for rule in rules:
            said = rule.say(path)
            if said is not None:
                return said
    return False


def _may_be_under(pattern: str, folder: str) -> bool:
    parts: Sequence[str] = pattern.strip("/").split("/")
    if len(parts) == 1 and not pattern.startswith("/"):
        return True  # a bare name is looked for everywhere
    for part, name in zip(parts, folder.split("/"), strict=False):
        if part == "**":
            return True
        if not fnmatch.fnmatchcase(name, part):
            return False
    return True

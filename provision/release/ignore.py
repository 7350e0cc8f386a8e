"""Which files of a project are shipped.

The rules are git's (gitignore(5)): files named `.gitignore` count in every folder, later and deeper lines win, and
nothing is looked for in an ignored folder. `.deployignore` has the same form and is asked first. `[project] include`
brings files back whatever those say. Of a git repository, what lies above the project counts too, as do its
`info/exclude` and the user's `core.excludesFile`. A few names are never shipped: they are secrets, or about this
machine alone.
"""

from __future__ import annotations

import fnmatch
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pathspec import GitIgnoreSpec, RegexPattern

from provision.errors import UsageError
from provision.release.repository import rules_outside

_RULE_FILES = (".deployignore", ".gitignore")  # in the order in which they are asked
NEVER = frozenset({".git", ".venv", ".deploy", "__pycache__", *_RULE_FILES})
_ENV_EXAMPLE = ".env.example"


@dataclass(frozen=True)
class _Rule:
    """One line of a rule file."""

    regex: re.Pattern[str]
    ignores: bool  # or brings back
    folders_only: bool


@dataclass(frozen=True)
class _Rules:
    """The rules of one file, which speak of paths below its folder."""

    folder: str  # relative to the project, "" for its top
    rules: tuple[_Rule, ...]  # the last line first: it wins
    prefix: str = ""  # where the project lies, for rules of a folder above it: "a/b/"

    @classmethod
    def from_file(cls, file: Path, folder: str, prefix: str = "") -> _Rules:
        try:
            lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except (FileNotFoundError, IsADirectoryError):
            lines = []
        except OSError as error:
            raise _unreadable(os.fspath(file), error) from None
        return cls(folder, tuple(rule for rule in map(_rule, reversed(lines)) if rule), prefix)

    def say(self, path: str, *, is_folder: bool) -> bool | None:
        """Whether `path` is ignored, brought back, or not mentioned."""
        path = self.prefix + (path[len(self.folder) + 1 :] if self.folder else path)
        for rule in self.rules:
            if is_folder or not rule.folders_only:
                found = rule.regex.search(path)
                # pathspec lets a pattern speak of everything in a folder that it matches, and marks that by a named
                # group. Here the walk does that, so only a match of the path itself counts, as in git.
                if found and not any(found.groupdict().values()):
                    return rule.ignores
        return None


def _rule(line: str) -> _Rule | None:
    text = line.rstrip()
    if text.endswith("\\"):
        text += line[len(text) :][:1]  # a blank that is escaped belongs to the name
    try:
        with warnings.catch_warnings():  # of what later versions of Python may understand in `[[`
            warnings.simplefilter("ignore", FutureWarning)
            found = GitIgnoreSpec.from_lines([text.removesuffix("/")]).patterns
    except ValueError:
        return None  # malformed: matches nothing, as in git
    for pattern in found:
        if isinstance(pattern, RegexPattern) and pattern.regex and pattern.include is not None:
            return _Rule(pattern.regex, ignores=pattern.include, folders_only=text.endswith("/"))
    return None  # a comment, or nothing


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
    outside = tuple(_Rules.from_file(file, "", prefix) for file, prefix in rules_outside(root) if file.is_file())
    return _walk(os.fspath(root), wanted, without, ((), outside))


_Stack = tuple[tuple[_Rules, ...], tuple[_Rules, ...]]  # for each kind of rule file, the deepest folder's first


def _walk(root: str, wanted: Wanted, without: frozenset[str], above: _Stack) -> Iterator[str]:
    # The folders on the way to where it is: they may lie in each other deeper than a function can call itself.
    way = [_enter(root, "", above, within_ignored=False)]
    while way:
        folder, entries, stack, within_ignored = way[-1]
        entry = next(entries, None)
        if entry is None:
            way.pop()
            continue
        path = f"{folder}/{entry.name}" if folder else entry.name
        if path in without or never(entry.name):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        ignored = within_ignored or _ignored(stack, path, is_folder=is_folder)
        if not is_folder:
            if not ignored or wanted.names(path):
                yield path
        elif not ignored or wanted.may_be_under(path):
            way.append(_enter(root, path, stack, within_ignored=ignored))


def _enter(
    root: str, folder: str, above: _Stack, *, within_ignored: bool
) -> tuple[str, Iterator[os.DirEntry[str]], _Stack, bool]:
    entries = _entries(f"{root}/{folder}", folder)
    return folder, iter(entries), _deeper(root, folder, {entry.name for entry in entries}, above), within_ignored


def _entries(place: str, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []  # it is gone meanwhile
    except OSError as error:
        raise _unreadable(f"the folder {folder or place}", error) from None


def _unreadable(what: str, error: OSError) -> UsageError:
    return UsageError(
        f"{what} cannot be read",
        why=error.strerror or str(error),
        next_step="make it readable, or add it to .deployignore",
    )


def never(name: str) -> bool:
    """Whether a file or folder called so is a secret, or about this machine alone."""
    return name in NEVER or (name.startswith(".env") and name != _ENV_EXAMPLE)


def _deeper(root: str, folder: str, names: set[str], above: _Stack) -> _Stack:
    def stack(name: str, rules: tuple[_Rules, ...]) -> tuple[_Rules, ...]:
        if name not in names:
            return rules
        return (_Rules.from_file(Path(root, folder, name), folder), *rules)

    first, second = (stack(name, rules) for name, rules in zip(_RULE_FILES, above, strict=True))
    return first, second


def _ignored(stack: _Stack, path: str, *, is_folder: bool) -> bool:
    for files in stack:
        for rules in files:
            said = rules.say(path, is_folder=is_folder)
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

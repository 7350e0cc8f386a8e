"""Pins every package that a checkout needs, by hash and in one resolution: locks/NAME.txt, and those of the images.

    .venv/bin/python scripts/lock.py             what pins still fit stay (make lock)
    .venv/bin/python scripts/lock.py --upgrade   everything at its newest (make lock UPGRADE=--upgrade)
    .venv/bin/python scripts/lock.py --check     where they are not what that made; asks no network (make lint)

A file holds what its group needs beside `run`, for every Python and platform of PYTHONS and PLATFORMS: there is a wheel
for each of them, or an environment marker. It names no index, so it is installed from whichever one pip has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from fill_venv import for_pip, for_uv, pip_settings, tell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "locks"
IMAGES = LOCKS / "images.sha256"
IMAGES_FROM = "what scripts/lock-images makes them from"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")

# An entry: NAME==VERSION, perhaps a marker, then hashes on lines of their own.
_ENTRY = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)[^\n]*(?:\n[ \t]+[^\n]+)*\n?", re.MULTILINE)
_DIGEST = "# The dependencies of pyproject.toml, the Pythons and platforms that it was made from: sha256 "
_BODY = "# What follows: sha256 "


@dataclass(frozen=True)
class Lock:
    """One file, and what of pyproject.toml it is made from."""

    name: str
    about: str
    project: bool = False
    extras: tuple[str, ...] = ()
    group: str = ""
    beside: str = ""  # another one, whose packages it leaves out

    @property
    def file(self) -> Path:
        return LOCKS / f"{self.name}.txt"

    def asks_for(self, declared: dict[str, Any]) -> list[str]:
        """The requirements, sorted, as pyproject.toml has them."""
        project = declared["project"]
        found = [*project["dependencies"]] if self.project else []
        for extra in self.extras:
            found += project["optional-dependencies"][extra]
        if self.group:
            found += declared["dependency-groups"][self.group]
        if self.group == "build":
            found += declared["build-system"]["requires"]
        return sorted(found)

    def arguments(self) -> list[str]:
        """The same, for `uv pip compile`."""
        words = [str(ROOT / "pyproject.toml")] if self.project or self.extras else []
        words += [f"--extra={extra}" for extra in self.extras]
        return [*words, f"--group={ROOT / 'pyproject.toml'}:{self.group}"] if self.group else words


RUN = Lock("run", "what `deploy` and `bitnet` need at run time", project=True, extras=("deploy",))
ALL = (
    RUN,
    Lock(
        "test",
        "what `make test` needs beside that",
        extras=("grpc", "ray", "otel", "gpu", "wheel", "s3"),
        group="test",
        beside="run",
    ),
    Lock("lint", "what `make lint` needs beside that", extras=("otel",), group="lint", beside="run"),
    Lock("build", "what installing the project itself needs", group="build"),
    Lock("uv", "what installs all the others", group="uv"),
)


def differences(declared: dict[str, Any]) -> Iterator[str]:
    """A sentence for each lock that is not made from what is declared."""
    for lock in ALL:
        if not lock.file.is_file():
            yield f"locks/{lock.name}.txt is missing."
            continue
        text = lock.file.read_text(encoding="utf-8")
        header, entries = parted(text)
        if f"{_BODY}{sha256(entries)}\n" not in header:
            yield f"locks/{lock.name}.txt was changed by hand, or by a merge."
            continue
        if f"{_DIGEST}{digest(lock, declared)}\n" in header:
            continue
        pins = versions(text) | (versions(RUN.file.read_text(encoding="utf-8")) if lock.beside else {})
        wrong = []
        for requirement in map(Requirement, lock.asks_for(declared)):
            pinned = pins.get(canonicalize_name(requirement.name), [])
            if not any(requirement.specifier.contains(version, prereleases=True) for version in pinned):
                wrong.append(f"{requirement} (it has {', '.join(pinned) or 'none'})")
        yield (
            f"locks/{lock.name}.txt was not made from what pyproject.toml says now: "
            + ("it lacks " + "; ".join(wrong) if wrong else "a package is asked for no more, or otherwise than it was")
            + (" (or for other Pythons or platforms)." if not wrong else ".")
        )


def differences_of_images(declared: dict[str, Any]) -> Iterator[str]:
    """The same for images' lists of packages, whose digests are in a file of their own: an image has their bytes."""
    noted = dict(line.split("  ")[::-1] for line in IMAGES.read_text(encoding="utf-8").splitlines()[1:])
    now = images(declared)
    for name in sorted(noted.keys() | now.keys()):
        if noted.get(name) != now.get(name):
            made_from = name == IMAGES_FROM
            yield (
                "images/*/requirements*.txt were not made from what scripts/lock-images names as it is now."
                if made_from
                else f"{name} was changed by hand, or by a merge."
            )


def images(declared: dict[str, Any]) -> dict[str, str]:
    """The digest of each list, and that of all that scripts/lock-images makes them from."""
    project = declared["project"]
    asked = [project["requires-python"], project["dependencies"], project["optional-dependencies"]["gpu"]]
    script = (ROOT / "scripts" / "lock-images").read_text(encoding="utf-8")
    files = sorted(set(re.findall(r"(?:examples|images|locks)/[^\s*]+\.(?:txt|in|toml)", script)))
    read = {name: (ROOT / name).read_text(encoding="utf-8") for name in files if (ROOT / name).is_file()}
    made = [name for name in files if re.fullmatch(r"images/[^/]+/requirements.*\.txt", name)]
    sources = [
        parted(text)[1] if name.startswith("locks/") else text for name, text in read.items() if name not in made
    ]
    return {name: sha256(read.get(name, "")) for name in made} | {
        IMAGES_FROM: sha256(json.dumps([asked, script, sources]))
    }


def versions(text: str) -> dict[str, list[str]]:
    """The pinned versions by name; with markers there may be more than one."""
    found: dict[str, list[str]] = {}
    for entry in _ENTRY.finditer(text):
        found.setdefault(entry[1], []).append(entry[2])
    return found


def digest(lock: Lock, declared: dict[str, Any]) -> str:
    return sha256(json.dumps([declared["project"]["requires-python"], lock.asks_for(declared), PYTHONS, PLATFORMS]))


def headed(lock: Lock, declared: dict[str, Any], entries: str) -> str:
    about = f"# Made by `make lock`: {lock.about}. scripts/make-venv installs it as it stands.\n"
    return f"{about}{_DIGEST}{digest(lock, declared)}\n{_BODY}{sha256(entries)}\n{entries}"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parted(text: str) -> tuple[str, str]:
    """The comments that a lock begins with, and the rest."""
    lines = text.splitlines(keepends=True)
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    return "".join(comments), "".join(lines[len(comments) :])


def make(declared: dict[str, Any], *, upgrade: bool) -> None:
    """Write all of them; needs an index."""
    # A preference, not a rule: pins that no longer fit are left.
    files = [file.read_text(encoding="utf-8") for file in sorted(LOCKS.glob("*.txt"))]
    # Entries alone: the marks of a merge that did not go well are to end here.
    known = "".join(entry[0] for text in files for entry in _ENTRY.finditer(text))
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "all.txt"
        together.write_text("" if upgrade else known, encoding="utf-8")
        every = [word for lock in ALL for word in lock.arguments()]
        resolve([*dict.fromkeys(every), "--output-file", str(together)])
        texts = {}
        for lock in ALL:
            needed = [*RUN.arguments(), *lock.arguments()] if lock.beside else lock.arguments()
            texts[lock.name] = resolve([*dict.fromkeys(needed), f"--constraint={together}"])
    LOCKS.mkdir(exist_ok=True)
    for lock in ALL:
        others = {entry[0] for entry in _ENTRY.finditer(texts[lock.beside])} if lock.beside else set()
        entries = [entry[0] for entry in _ENTRY.finditer(texts[lock.name]) if entry[0] not in others]
        lock.file.write_text(headed(lock, declared, "".join(entries)), encoding="utf-8")
        tell(f"locks/{lock.name}.txt: {len(entries)} packages")


def resolve(words: list[str]) -> str:
    options = ["--universal", f"--python-version={PYTHONS[0]}", "--only-binary=:all:", "--generate-hashes"]
    options += ["--no-emit-index-url", "--no-header", "--no-annotate", "--quiet"]
    return uv("pip", "compile", *options, *words)


def prove() -> None:
    """Every Python on every platform finds a wheel of every package; nothing is downloaded."""
    files = [word for lock in ALL for word in ("--requirement", str(lock.file))]
    for python in PYTHONS:
        for platform in PLATFORMS:
            with tempfile.TemporaryDirectory() as nothing:
                options = ["--dry-run", "--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet"]
                options += [f"--target={nothing}", f"--python-version={python}", f"--python-platform={platform}"]
                uv("pip", "install", *options, *files)
            tell(f"Python {python} on {platform}: a wheel for each")


def uv(*words: str) -> str:
    program = Path(sys.executable).with_name("uv")
    if not program.exists():
        sys.exit(f"{program} is missing; uv resolves. next: scripts/make-venv run")
    done = subprocess.run(
        [program, *words], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"uv could not do this; its words stand above: uv {' '.join(words[:2])}")
    return done.stdout


def environment() -> dict[str, str]:
    settings = pip_settings()
    kept = for_pip(settings, os.environ)
    return kept | for_uv(settings, kept)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="say where pyproject.toml and the locks differ")
    arguments.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    chosen = arguments.parse_args()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if chosen.check:
        found = list(differences(declared)) or list(differences_of_images(declared))  # those follow from these
        sys.exit("\n".join([*found, "next: make lock"]) if found else 0)
    make(declared, upgrade=chosen.upgrade)
    prove()
    command = [str(ROOT / "scripts" / "lock-images"), *(["--upgrade"] if chosen.upgrade else [])]
    if status := subprocess.run(command, env=environment(), check=False).returncode:
        sys.exit(status)
    note_images(declared)


def note_images(declared: dict[str, Any]) -> None:
    lines = [f"{digest}  {name}\n" for name, digest in images(declared).items()]
    IMAGES.write_text("# Made by `make lock`: sha256 of the lists of packages of images.\n" + "".join(lines), "utf-8")


if __name__ == "__main__":
    main()

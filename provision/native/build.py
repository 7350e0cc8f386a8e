"""From a profile to binaries in `build/bin`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.contract.model_types import KERNELS
from provision.errors import DeployError, Interrupted, UsageError
from provision.events import OnEvent, ignore, message
from provision.native import cuda, machine, toolchain
from provision.native.cache import Cache
from provision.native.compile import Workshop
from provision.native.cuda import Toolkit
from provision.native.data import Profile, check_targets
from provision.native.data import profile as find_profile
from provision.native.finished import Finished, cpu_facts
from provision.native.sources import Source, fetch
from provision.native.sources import find as find_source
from provision.native.toolchain import Toolchain
from provision.workbench import Here, Workbench

# Raised when the layout of a finished build changes, so that an older one is not taken for one of today's.
_FORMAT = 1
# Variables that CMake adds to what it is told.
_DECISIVE = ("CFLAGS", "CXXFLAGS", "LDFLAGS")


@dataclass(frozen=True)
class BuildResult:
    """Where the binaries are, and what `build.json` says about them."""

    profile: str
    key: str
    binaries: Mapping[str, Path]
    record: Path
    facts: Mapping[str, Any]
    compiled: bool  # False: all of it was in the cache


@dataclass(frozen=True)
class _Recipe:
    """Everything that decides what the binaries do."""

    profile: Profile
    source: Source
    tools: Toolchain
    cuda: Toolkit | None
    variables: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """The part of build.json that is known before anything is compiled."""
        workbench = self.tools.workbench
        compilers = {"c": self.tools.c.version, "cxx": self.tools.cxx.version}
        facts: dict[str, Any] = {
            "format": _FORMAT,
            "profile": self.profile.name,
            "source": {**self.source.facts, "digest": self.source.digest},
            "ternary_types": [*self.source.ternary_types, *self._lookup_table_types()],
            "flags": self.variables,
            "environment": {name: workbench.environment[name] for name in _DECISIVE if name in workbench.environment},
            "compiler": compilers | ({"nvcc": self.cuda.version} if self.cuda else {}),
        }
        facts |= {"cuda": dict(self.cuda.facts)} if self.cuda else {}
        return facts | ({"packages": dict(workbench.packages)} if workbench.packages else {})

    def _lookup_table_types(self) -> list[str]:
        return [kind for kind, variable in KERNELS.items() if self.variables.get(variable) == "ON"]

    def key(self) -> str:
        decisive: dict[str, Any] = {"facts": self.facts(), "architecture": os.uname().machine}
        if self.variables.get("GGML_NATIVE") == "ON":
            decisive["cpu"] = toolchain.cpu_flags()
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def build(
    profile: str,
    *,
    targets: Sequence[str],
    source: str | Path | None = None,
    root: Path | None = None,
    out: Path | None = None,
    define: Mapping[str, str] | None = None,
    toolkit: str = "",
    workbench: Workbench | None = None,
    on_event: OnEvent = ignore,
    jobs: int | None = None,
    cache: Cache | None = None,
) -> BuildResult:
    """Binaries of `profile` in `OUT/bin`, and `OUT/build.json` with what they are.

    Compiles only what no build in the cache has compiled before, and goes on where one was interrupted.

    Args:
        profile: a preset of native/CMakePresets.json.
        targets: some of `provision.native.TARGETS`.
        source: None for the pinned llama.cpp, a checkout's folder, or `bitnet[@REVISION]`.
        root: the project's folder; the current one by default.
        out: where `bin` and `build.json` go; `ROOT/build` by default.
        define: CMake variables on top of the profile's.
        toolkit: of CUDA: `pinned`, or a folder; by default the one that nvcc on PATH belongs to.
        workbench: where the compilers run; on this machine by default.
        on_event: told what happens, see `provision.events`.
        jobs: compilers at once; by default what cores and memory allow.
        cache: `Cache.of_user()` by default.

    Raises:
        UsageError: an unknown profile or target, a missing program, an unusable source.
        DeployError: the source could not be had, or did not compile.
        Interrupted: Ctrl-C; the next build goes on from there.
    """
    targets = list(targets)
    check_targets(targets)
    out = out or (root or Path.cwd()) / "build"
    cache = cache or Cache.of_user()
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one compiler has to run")
    declared, wanted = find_profile(profile), find_source(source, cache, on_event)
    recipe = _recipe(declared, wanted, define or {}, workbench or Here(), toolkit, cache)
    finished = Finished(cache.finished(recipe.key()))

    try:
        compiled = not finished.intact(targets) and _make(
            recipe, targets, finished, cache, jobs or machine.jobs(), on_event
        )
        binaries = finished.install(targets, out)
    except KeyboardInterrupt:
        raise Interrupted("interrupted", why="What was compiled is kept; the same command goes on.") from None
    except OSError as failure:  # a full disk, a cache folder that is not ours
        raise DeployError("the build could not write its files", why=str(failure)) from failure
    on_event(message("install", f"{', '.join(targets)} ({profile}) in {out / 'bin'}"))
    return BuildResult(profile, recipe.key(), binaries, out / "build.json", finished.facts(), compiled)


def _recipe(
    profile: Profile, source: Source, define: Mapping[str, str], workbench: Workbench, toolkit: str, cache: Cache
) -> _Recipe:
    if source.profiles is not None and profile.name not in source.profiles:
        raise UsageError(
            f"{source.name} has no profile {profile.name}",
            why=f"Its own build supports: {', '.join(source.profiles)}.",
        )
    variables = {**profile.variables, **source.variables, **define}
    tools = toolchain.find(source.compilers, workbench)
    if toolkit and variables.get("GGML_CUDA") != "ON":
        raise UsageError(f"profile {profile.name} has no CUDA, so it needs no toolkit", next_step="--profile cuda")
    with_cuda = cuda.find(toolkit, variables, cache) if variables.get("GGML_CUDA") == "ON" else None
    if with_cuda and workbench.packages and toolkit != cuda.PINNED:
        raise UsageError(
            "a container compiles for CUDA with the pinned toolkit alone, which lies in the cache that it sees",
            next_step=f'toolkit = "{cuda.PINNED}" in image.toml',
        )
    return _Recipe(profile, source, tools, with_cuda, variables)


def _make(recipe: _Recipe, targets: list[str], finished: Finished, cache: Cache, jobs: int, on_event: OnEvent) -> bool:
    """Compile `targets` into `finished`; False if another build did while this one waited for its turn."""
    with cache.lock(on_event) as lock:
        if finished.intact(targets):
            return False
        tree = cache.tree(recipe.profile.name, recipe.key())
        if recipe.cuda:
            recipe.cuda.fetch(on_event)
        workshop = Workshop(fetch(recipe.source, cache, on_event), tree, recipe.tools, recipe.cuda, cache, lock)
        workshop.configure(recipe.variables, on_event)
        workshop.compile(targets, jobs, on_event)
        variants = recipe.variables.get("GGML_CPU_ALL_VARIANTS") == "ON"
        cpu = cpu_facts(tree, recipe.tools, variants=variants)
        finished.add(tree, targets, recipe.tools, {**recipe.facts(), "key": recipe.key(), "cpu": cpu})
        return True

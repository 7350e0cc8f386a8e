"""Everything that decides how a model runs here, in one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bitnet import binaries, probes
from bitnet.binaries import Binary
from bitnet.choice import choose
from bitnet.errors import RuntimeFailure
from bitnet.machine import Cpu, Gpus, GpuState, read_cpu, read_gpus
from bitnet.model import ModelFacts, Serving, memory_needed, plan_gpu_layers, read_model
from bitnet.plan import Engine
from bitnet.probes import Finding, Health, Probe, ProbeResult

_PROGRAMS = (binaries.CLI, binaries.SERVER)


@dataclass(frozen=True)
class Diagnostics:
    """The report.

    Attributes:
        programs: for each program its builds with version, the one chosen and why, or the problem.
        model: what the model is made of and needs, or the problem; None if none was asked about.
        probes: what each health probe saw.
        problems: everything that needs a person's attention, a sentence each.
    """

    programs: dict[str, object]
    model: dict[str, object] | None
    probes: dict[str, ProbeResult]
    problems: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """The report as JSON values."""
        return {
            "healthy": self.healthy,
            "problems": list(self.problems),
            "programs": self.programs,
            "model": self.model,
            "probes": {name: result.as_dict() for name, result in self.probes.items()},
        }


@dataclass
class _Seen:
    """What probes found, for what is decided from it. One that fails or hangs leaves its place as it is here."""

    cpu: Cpu | None = None
    gpus: Gpus = field(default_factory=lambda: Gpus(GpuState.BROKEN))
    model: ModelFacts | None = None
    builds: dict[str, list[Binary]] = field(default_factory=dict)


def diagnose(
    build_dir: Path,
    model: Path | None,
    *,
    ctx_size: int,
    seconds: float,
    environment: Mapping[str, str],
    engine: Engine = "build",
) -> Diagnostics:
    """The report for the builds in `build_dir` and, if given, the model. Never raises for what it finds.

    Everything that touches the machine is a probe, also the files: a dead mount holds up nothing but itself.

    Args:
        build_dir, model: what would run.
        ctx_size: tokens of context that memory is reckoned for.
        seconds: what each probe gets.
        environment: what programs would be started with; it decides which GPUs they see.
        engine: "wheel" looks at the llama-server of the package xllamacpp, which brings no other program.
    """
    seen = _Seen()
    names = _PROGRAMS if engine == "build" else (binaries.SERVER,)
    looks: dict[str, Probe] = {
        **probes.of_health(build_dir, lambda: environment),
        "cpu": lambda: _cpu(seen),
        "gpu": lambda: _gpu(seen, environment),
        **{name: _builds(seen, build_dir, name, engine) for name in names},
    }
    if model is not None:
        looks["model"] = lambda: _model(seen, model, ctx_size)
    results = probes.run_probes(looks, seconds)
    versions = probes.run_probes(
        {str(build.path): _version(build) for name in names for build in seen.builds.get(name, [])}, seconds
    )
    problems: list[str] = []
    about_model = _facts_or_problem("model", results.pop("model"), problems) if model is not None else None
    found = {name: _facts_or_problem(name, results.pop(name), problems) for name in names}
    programs: dict[str, object] = {
        name: {"builds": [], **facts} if facts else _program(name, seen, versions, ctx_size, problems)
        for name, facts in found.items()
    }
    problems += [f"{name}: {result.problem}" for name, result in results.items() if result.health is not Health.OK]
    return Diagnostics(programs, about_model, results, tuple(problems))


def _cpu(seen: _Seen) -> Finding:
    seen.cpu = read_cpu()
    return probes.cpu(seen.cpu)


def _gpu(seen: _Seen, environment: Mapping[str, str]) -> Finding:
    seen.gpus = read_gpus(environment)
    return probes.gpu(seen.gpus)


def _model(seen: _Seen, path: Path, ctx_size: int) -> Finding:
    try:
        seen.model = read_model(path)
    except RuntimeFailure as error:
        return Finding({"path": str(path), "problem": str(error)}, str(error))
    return Finding({**seen.model.as_dict(), "memory_needed_bytes": memory_needed(seen.model, Serving(ctx_size))})


def _builds(seen: _Seen, build_dir: Path, name: str, engine: Engine) -> Probe:
    def look() -> Finding:
        try:
            seen.builds[name] = [binaries.wheel()] if engine == "wheel" else binaries.find(build_dir, name)
        except RuntimeFailure as error:
            return Finding({"problem": str(error)}, str(error))
        return Finding({})

    return look


def _version(build: Binary) -> Probe:
    """A probe, because asking a program for its version runs it."""
    return lambda: Finding(build.version())


def _program(
    name: str, seen: _Seen, versions: Mapping[str, ProbeResult], ctx_size: int, problems: list[str]
) -> dict[str, object]:
    """The builds of one program and the choice among them."""
    builds = []
    for build in seen.builds[name]:
        asked = versions[str(build.path)]
        builds.append({**build.as_dict(), "version": asked.facts or f"unknown: {asked.problem}"})
        if asked.problem:
            problems.append(f"{build.path} --version: {asked.problem}")
    try:
        return {"builds": builds, **_chosen(seen, name, ctx_size)}
    except RuntimeFailure as error:
        problems.append(str(error))
        return {"builds": builds, "problem": str(error)}


def _chosen(seen: _Seen, name: str, ctx_size: int) -> dict[str, object]:
    if seen.cpu is None:
        return {"problem": "the processor could not be read, so no build can be chosen"}
    choice = choose(seen.builds[name], seen.cpu, seen.gpus, seen.model)
    chosen: dict[str, object] = {"chosen": choice.as_dict()}
    if seen.model and choice.binary.cuda and seen.gpus.devices:
        plan = plan_gpu_layers(seen.model, Serving(ctx_size), seen.gpus.memory_free)
        chosen["gpu_layers"] = {"layers": plan.layers, "why": plan.why}
    return chosen


def _facts_or_problem(name: str, result: ProbeResult, problems: list[str]) -> dict[str, object]:
    if result.problem:
        problems.append(result.problem if result.health is Health.CONCERN else f"{name}: {result.problem}")
    return result.facts if isinstance(result.facts, dict) else {"problem": result.problem}

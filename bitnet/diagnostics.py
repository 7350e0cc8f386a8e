"""Everything that decides how a model runs here, in one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bitnet import binaries, probes
from bitnet.choice import choose
from bitnet.errors import RuntimeFailure
from bitnet.machine import Cpu, Gpus, read_cpu, read_gpus, read_memory
from bitnet.model import ModelFacts, memory_needed, plan_gpu_layers, read_model
from bitnet.probes import Finding, Health, ProbeResult


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


def diagnose(build_dir: Path, model: Path | None, *, ctx_size: int, seconds: float) -> Diagnostics:
    """The report for the builds in `build_dir` and, if given, the model. Never raises for what it finds."""
    problems: list[str] = []
    facts, about_model = _model(model, ctx_size, problems)
    results = probes.run_probes(
        {
            "cpu": lambda: probes.cpu(read_cpu()),
            "memory": lambda: probes.memory(read_memory()),
            "disk": lambda: probes.disk(build_dir),
            "gpu": lambda: probes.gpu(read_gpus()),
            "numa": probes.numa,
            "sandbox": probes.sandbox,
            binaries.CLI: _program(build_dir, binaries.CLI, facts, ctx_size),
            binaries.SERVER: _program(build_dir, binaries.SERVER, facts, ctx_size),
        },
        seconds,
    )
    programs = {name: _facts_or_problem(results.pop(name), name, problems) for name in (binaries.CLI, binaries.SERVER)}
    problems += [f"{name}: {result.problem}" for name, result in results.items() if result.health is not Health.OK]
    return Diagnostics(programs, about_model, results, tuple(problems))


def _model(path: Path | None, ctx_size: int, problems: list[str]) -> tuple[ModelFacts | None, dict[str, object] | None]:
    if path is None:
        return None, None
    try:
        facts = read_model(path)
    except RuntimeFailure as error:
        problems.append(str(error))
        return None, {"path": str(path), "problem": str(error)}
    return facts, {**facts.as_dict(), "memory_needed_bytes": memory_needed(facts, ctx_size)}


def _program(build_dir: Path, name: str, facts: ModelFacts | None, ctx_size: int) -> Callable[[], Finding]:
    """A probe, because asking a program for its version runs it."""

    def look() -> Finding:
        try:
            found = binaries.find(build_dir, name)
            about = [{**binary.as_dict(), "version": binary.version()} for binary in found]
            cpu, gpus = read_cpu(), read_gpus()
            try:
                return Finding({"builds": about, **_chosen(found, cpu, gpus, facts, ctx_size)})
            except RuntimeFailure as error:
                return Finding({"builds": about, "problem": str(error)}, str(error))
        except RuntimeFailure as error:
            return Finding({"builds": [], "problem": str(error)}, str(error))

    return look


def _chosen(
    found: list[binaries.Binary], cpu: Cpu, gpus: Gpus, facts: ModelFacts | None, ctx_size: int
) -> dict[str, object]:
    choice = choose(found, cpu, gpus, facts)
    chosen: dict[str, object] = {"chosen": choice.as_dict()}
    if facts and choice.binary.cuda and gpus.devices:
        plan = plan_gpu_layers(facts, ctx_size, gpus.memory_free)
        chosen["gpu_layers"] = {"layers": plan.layers, "why": plan.why}
    return chosen


def _facts_or_problem(result: ProbeResult, name: str, problems: list[str]) -> object:
    if result.problem:
        problems.append(result.problem if result.health is Health.CONCERN else f"{name}: {result.problem}")
    return result.facts if result.facts is not None else {"builds": [], "problem": result.problem}

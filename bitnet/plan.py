"""From what is asked to what is run: model, binary, threads, GPU layers and memory, decided before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitnet import binaries
from bitnet.arguments import (
    Common,
    checked_extra,
    checked_prompt,
    checked_temperature,
    inference_command,
    resolve_threads,
    server_command,
    whole_number,
)
from bitnet.binaries import Binary
from bitnet.choice import Choice, choose
from bitnet.errors import InvalidInput, NotEnoughMemory, PortTaken
from bitnet.machine import Gpus, Machine
from bitnet.model import GpuPlan, ModelFacts, Serving, memory_needed, plan_gpu_layers, read_model

Auto = int | Literal["auto"]
Engine = Literal["build", "wheel"]


@dataclass(frozen=True)
class LaunchPlan:
    """One launch, decided: the command and what led to it."""

    program: str
    command: tuple[str, ...]
    choice: Choice
    facts: ModelFacts
    gpu: GpuPlan
    memory_needed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Ask:
    """What a caller asks of either program, not checked yet."""

    model: str | Path
    ctx_size: int
    threads: Auto
    batch_size: int | None
    gpu_layers: Auto
    extra_args: Sequence[str]


def plan_inference(
    build_dir: Path, ask: Ask, machine: Machine, *, prompt: str, n_predict: int, temperature: float, conversation: bool
) -> LaunchPlan:
    """The launch of llama-cli for one prompt, or for a chat.

    Raises:
        RuntimeFailure: one of its kinds, for whatever cannot work.
    """
    prompt = checked_prompt(prompt, ask.extra_args, conversation=conversation)
    n_predict = whole_number("n_predict", n_predict, 1, also=(-1,))
    temperature = checked_temperature(temperature)
    draft = _draft(binaries.find(build_dir, binaries.CLI), ask, machine)
    command = inference_command(
        draft.choice.binary,
        draft.common,
        prompt=prompt,
        n_predict=n_predict,
        temperature=temperature,
        conversation=conversation,
    )
    return draft.plan(binaries.CLI, command)


def plan_server(
    build_dir: Path,
    ask: Ask,
    machine: Machine,
    *,
    host: str,
    port: int,
    n_predict: int | None,
    parallel: int | None,
    metrics: bool,
    engine: Engine = "build",
) -> LaunchPlan:
    """The launch of llama-server: of a build in `build_dir`, or the one of the wheel.

    Raises:
        RuntimeFailure: one of its kinds, for whatever cannot work.
    """
    if not host or any(character.isspace() or character == "\0" for character in host):
        raise InvalidInput(
            f"host={host!r} is no address",
            why="a server listens on an address or a name",
            next_step="127.0.0.1 is the default",
        )
    port = whole_number("port", port, 1, 65535)
    if n_predict is not None:
        whole_number("n_predict", n_predict, 1, also=(-1,))
    if parallel is not None:
        whole_number("parallel", parallel, 1, 4096)
    found = [binaries.wheel()] if engine == "wheel" else binaries.find(build_dir, binaries.SERVER)
    draft = _draft(found, ask, machine)
    command = server_command(
        draft.choice.binary, draft.common, host=host, port=port, n_predict=n_predict, parallel=parallel, metrics=metrics
    )
    return draft.plan(binaries.SERVER, command)


def check_memory(plan: LaunchPlan, available: int, what: str) -> None:
    """Refuse a plan that needs more than `available` bytes; `what` says what those are.

    Raises:
        NotEnoughMemory: it does.
    """
    if plan.memory_needed > available:
        raise NotEnoughMemory(
            f"{plan.facts.path}: needs about {_mib(plan.memory_needed)} of memory, {what} {_mib(available)}",
            why=f"weights {_mib(plan.facts.size)}, the rest is the context's cache and buffers",
            next_step="lower ctx_size, take a smaller model or quantization, or a machine with more memory",
        )


def check_port(host: str, port: int) -> None:
    """Refuse a port that somebody listens on. Programs that set SO_REUSEPORT would share it without a word.

    Raises:
        PortTaken: somebody does.
        InvalidInput: this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise InvalidInput(
            f"host={host!r} is no address", why=str(error), next_step="127.0.0.1 is the default"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is taken",
                why="another program listens there",
                next_step=f"see which: ss -ltnp 'sport = :{port}', or give another port",
            ) from None
        raise InvalidInput(
            f"cannot listen on {host}:{port}",
            why=str(error.strerror),
            next_step="give an address of this machine; ports below 1024 need privileges",
        ) from None


@dataclass(frozen=True)
class _Draft:
    """What both programs share, before the command is written."""

    choice: Choice
    facts: ModelFacts
    gpu: GpuPlan
    common: Common
    warnings: tuple[str, ...]

    def plan(self, program: str, command: list[str]) -> LaunchPlan:
        needed = memory_needed(self.facts, Serving.told(command), self.gpu.layers)
        return LaunchPlan(program, tuple(command), self.choice, self.facts, self.gpu, needed, self.warnings)


def _draft(found: Sequence[Binary], ask: Ask, machine: Machine) -> _Draft:
    context = whole_number("ctx_size", ask.ctx_size, 8, also=(0,))
    if ask.batch_size is not None:
        whole_number("batch_size", ask.batch_size, 1)
    extra = checked_extra(ask.extra_args)
    threads, thread_warning = resolve_threads(ask.threads, machine.cpu.threads, machine.cpu.usable)
    facts = read_model(Path(ask.model).absolute())
    choice = choose(found, machine.cpu, machine.gpus, facts)
    serving = Serving.told(["--ctx-size", str(context), *extra])
    gpu, gpu_warning = _gpu_layers(ask.gpu_layers, choice, facts, serving, machine.gpus)
    context_warning = (
        f"ctx_size={context} is more than the {facts.context_length} tokens that the model was trained for"
        if context > facts.context_length > 0
        else ""
    )
    common = Common(facts.path, context, threads, ask.batch_size, gpu.layers if choice.binary.cuda else None, extra)
    warnings = tuple(text for text in (thread_warning, gpu_warning, context_warning) if text)
    return _Draft(choice, facts, gpu, common, warnings)


def _gpu_layers(asked: Auto, choice: Choice, facts: ModelFacts, serving: Serving, gpus: Gpus) -> tuple[GpuPlan, str]:
    """How many layers go to the GPUs, and a warning if the caller's number cannot be had."""
    if asked != "auto":
        whole_number("gpu_layers", asked, 0)
    if not choice.binary.cuda:
        why = f"{choice.binary.path} has no GPU backend"
        return GpuPlan(0, why), f"gpu_layers={asked}: {why}; all layers run on the CPU" if asked not in (
            "auto",
            0,
        ) else ""
    if asked != "auto":
        return GpuPlan(asked, "as asked"), ""
    if not gpus.devices:
        return GpuPlan(0, gpus.state.value), ""
    return plan_gpu_layers(facts, serving, gpus.memory_free), ""


def _mib(size: int) -> str:
    return f"{-(-size >> 20)} MiB"

"""`BitNetRuntime`: llama-cli and llama-server of one build folder, launched with care."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, Unpack, overload

from bitnet import otlp, probes
from bitnet.breaker import BreakerPolicy, State
from bitnet.diagnostics import Diagnostics, diagnose
from bitnet.errors import RuntimeFailure
from bitnet.launch import Launcher, OnOutput, Retries, shown
from bitnet.listener import Listener, check_token
from bitnet.logs import json_log_sink
from bitnet.machine import read_cpu, read_machine, read_memory
from bitnet.metrics import Metrics
from bitnet.options import InferenceOptions, ServerOptions
from bitnet.plan import Ask, Auto, Engine, LaunchPlan, check_memory, check_port, plan_inference, plan_server
from bitnet.process import Finished
from bitnet.telemetry import Sink, Telemetry

_log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_CONTEXT = 2048
DEFAULT_PORT = 8080
METRICS_PORT = 9482
_SCRAPE_SECONDS = 5.0  # Prometheus gives up after 10


class BitNetRuntime:
    """The compiled programs under `build_dir`, ready to be asked.

    Args:
        build_dir: the folder with `bin/llama-cli` and `bin/llama-server`; folders in it are build variants.
        environment: variables for the programs on top of this process's own.
        sinks: told of every launch (`bitnet.telemetry`).
        json_logs: write the same events as JSON lines on stderr.
        retries: how often a launch that fails is tried again.
        breaker: when a program that keeps failing is left alone.
        probe_seconds: how long each probe of `diagnostics` may take; for metrics it has 5 seconds at most.
    """

    def __init__(
        self,
        build_dir: str | os.PathLike[str] = "build",
        *,
        environment: Mapping[str, str] | None = None,
        sinks: Iterable[Sink] = (),
        json_logs: bool = False,
        retries: Retries | None = None,
        breaker: BreakerPolicy | None = None,
        probe_seconds: float = 12.0,
    ) -> None:
        self.build_dir = Path(build_dir).absolute()  # a unit file takes no relative path, and links stay links
        self._environment = dict(environment or {})
        self._telemetry = Telemetry([*sinks, *([json_log_sink()] if json_logs else [])])
        health = probes.of_health(self.build_dir, self._for_programs)
        self._metrics = Metrics(probes.StandingProbes(health, min(probe_seconds, _SCRAPE_SECONDS)), self._open_breakers)
        self._launcher = Launcher(retries or Retries(), breaker or BreakerPolicy(), self._telemetry, self._metrics)
        self._probe_seconds = probe_seconds
        self._began = time.time()

    @property
    def cpu_count(self) -> int:
        """CPUs that this process may really use: affinity and control groups counted in."""
        return read_cpu().usable

    @property
    def environment(self) -> dict[str, str]:
        """Variables that launched programs get on top of this process's own."""
        return dict(self._environment)

    @overload
    def run_inference(
        self, model: str | Path, prompt: str = "", *, dry_run: Literal[True], **options: Unpack[InferenceOptions]
    ) -> list[str]: ...

    @overload
    def run_inference(
        self,
        model: str | Path,
        prompt: str = "",
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[InferenceOptions],
    ) -> Finished: ...

    def run_inference(
        self,
        model: str | Path,
        prompt: str = "",
        n_predict: int = 128,
        ctx_size: int = DEFAULT_CONTEXT,
        temperature: float = 0.8,
        threads: Auto = "auto",
        batch_size: int | None = None,
        gpu_layers: Auto = "auto",
        conversation: bool = False,
        extra_args: Sequence[str] = (),
        dry_run: bool = False,
        timeout: float | None = None,
        on_output: OnOutput | None = None,
    ) -> list[str] | Finished:
        """Answer one prompt with llama-cli, or start a chat on this terminal.

        Args:
            model: a GGUF file; of a split model, its first part.
            prompt: what to answer; may be empty in a conversation.
            n_predict: tokens at most; -1 for no limit.
            ctx_size: tokens of context, prompt and answer together; 0 for what the model was trained for.
            temperature: 0 always takes the likeliest token.
            threads: "auto" is one a physical core that this process may use; more than it may use are clamped.
            batch_size: prompt tokens evaluated at once; None is llama.cpp's 2048.
            gpu_layers: "auto" is as many as fit into the free VRAM.
            conversation: chat on this terminal's stdin and stdout instead of answering once.
            extra_args: appended to the command as they are.
            dry_run: give the argument list and run nothing.
            timeout: seconds until the program is ended.
            on_output: gets each piece of output as it arrives; by default it goes to stdout and stderr.

        Raises:
            RuntimeFailure: one of its kinds (`bitnet.errors`), saying what to do.
        """
        plan = self._planned(
            "llama-cli",
            lambda: plan_inference(
                self.build_dir,
                Ask(model, ctx_size, threads, batch_size, gpu_layers, extra_args),
                read_machine(self._for_programs()),
                prompt=prompt,
                n_predict=n_predict,
                temperature=temperature,
                conversation=conversation,
            ),
        )
        if dry_run:
            return list(plan.command)
        self._checked("llama-cli", lambda: check_memory(plan, read_memory().available, "available are"))
        return self._launch(plan, timeout, on_output, attached=conversation)

    @overload
    def run_server(
        self, model: str | Path, *, dry_run: Literal[True], **options: Unpack[ServerOptions]
    ) -> list[str]: ...

    @overload
    def run_server(
        self, model: str | Path, *, dry_run: Literal[False] = False, **options: Unpack[ServerOptions]
    ) -> Finished: ...

    def run_server(
        self,
        model: str | Path,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        n_predict: int | None = None,
        ctx_size: int = DEFAULT_CONTEXT,
        threads: Auto = "auto",
        batch_size: int | None = None,
        gpu_layers: Auto = "auto",
        parallel: int | None = None,
        metrics: bool = True,
        extra_args: Sequence[str] = (),
        dry_run: bool = False,
        replace: bool = False,
        engine: Engine = "build",
        timeout: float | None = None,
        on_output: OnOutput | None = None,
    ) -> list[str] | Finished:
        """Serve a model with llama-server until it ends; SIGTERM and Ctrl-C end it.

        Args:
            model: a GGUF file; of a split model, its first part.
            host, port: where it listens; loopback unless told otherwise.
            n_predict: tokens at most for each answer; None leaves that to each request.
            ctx_size: tokens of context, shared by all slots; 0 for what the model was trained for.
            threads, batch_size, gpu_layers, extra_args, dry_run, timeout, on_output: as in `run_inference`.
            parallel: requests answered at once; None leaves that to llama-server.
            metrics: serve `/metrics` too; `bitnet watch` needs it.
            engine: "build" is one of `build_dir`; "wheel" is the package xllamacpp, for which nothing is compiled.
            replace: become the server instead of starting it: same process id, so that a supervisor's signals and
                exit status are the server's own. Never returns.

        Raises:
            RuntimeFailure: one of its kinds (`bitnet.errors`), saying what to do.
        """
        plan = self._planned(
            "llama-server",
            lambda: plan_server(
                self.build_dir,
                Ask(model, ctx_size, threads, batch_size, gpu_layers, extra_args),
                read_machine(self._for_programs()),
                host=host,
                port=port,
                n_predict=n_predict,
                parallel=parallel,
                metrics=metrics,
                engine=engine,
            ),
        )
        if dry_run:
            return list(plan.command)
        self._checked("llama-server", lambda: check_memory(plan, read_memory().available, "available are"))
        self._checked("llama-server", lambda: check_port(host, port))
        if replace:
            self._telemetry("launch.replaced", program=plan.program, command=shown(plan.command))
            os.execve(plan.command[0], plan.command, self._for_programs())  # noqa: S606 - that is its purpose
        return self._launch(plan, timeout, on_output)

    def diagnostics(
        self, model: str | Path | None = None, *, ctx_size: int = DEFAULT_CONTEXT, engine: Engine = "build"
    ) -> Diagnostics:
        """What there is to run with, what is chosen and why, and how the machine is. Never raises for what it finds.

        With the engine "wheel" that is llama-server alone.
        """
        return diagnose(
            self.build_dir,
            None if model is None else Path(model),
            ctx_size=ctx_size,
            seconds=self._probe_seconds,
            environment=self._for_programs(),
            engine=engine,
        )

    def count_launch(self, program: str, outcome: str, seconds: float) -> None:
        """Count a launch that somebody else made of this runtime's commands; `RuntimeSupervisor` does.

        Args:
            program: its label; a supervisor gives the backend.
            outcome: `ok`, `failed`, `timeout` or `interrupted`.
            seconds: from start to end.
        """
        self._metrics.launched(program, outcome, seconds)

    def prometheus_metrics(self) -> str:
        """Counters and gauges in Prometheus' text format."""
        return self._metrics.prometheus()

    def opentelemetry_metrics(self) -> dict[str, object]:
        """The same as an OTLP/JSON payload, the body of a POST to a collector's `/v1/metrics`."""
        return otlp.resource_metrics(
            self._metrics.families(),
            resource={"service.name": "bitnet-runtime"},
            scope="bitnet.runtime",
            started=self._began,
            now=time.time(),
        )

    def metrics_endpoint(self, host: str = "127.0.0.1", port: int = METRICS_PORT, *, token: str = "") -> Listener:
        """`/metrics` for Prometheus and `/healthz`, over HTTP while it is entered: `with runtime.metrics_endpoint():`.

        Args:
            host, port: where it listens; port 0 lets the system choose, see the listener's `.port`.
            token: what a scraper has to send as `Authorization: Bearer …`; needed beyond loopback.

        Raises:
            UnsafeListener: beyond loopback without a token.
            PortTaken: another program listens there, or the address cannot be used.
        """
        check_token(host, token)
        return Listener(host, port, lambda: self.prometheus_metrics().encode(), lambda: (True, "ok"), token=token)

    def _planned(self, program: str, decide: Callable[[], LaunchPlan]) -> LaunchPlan:
        """The decided plan, with its warnings told; it must fit into the machine, if not into what is free now."""

        def decided() -> LaunchPlan:
            plan = decide()
            check_memory(plan, read_memory().total, "this process may have at most")
            return plan

        plan = self._checked(program, decided)
        for warning in plan.warnings:
            _log.warning("%s: %s", program, warning)
            self._telemetry("launch.warning", program=program, warning=warning)
        return plan

    def _checked(self, program: str, check: Callable[[], T]) -> T:
        """Count and tell a refusal on its way to the caller."""
        try:
            return check()
        except RuntimeFailure as error:
            self._metrics.refused(program, type(error).__name__)
            self._telemetry("launch.refused", program=program, error=type(error).__name__, what=error.what)
            raise

    def _launch(
        self, plan: LaunchPlan, timeout: float | None, on_output: OnOutput | None, *, attached: bool = False
    ) -> Finished:
        return self._launcher.launch(
            plan.program,
            plan.command,
            self._for_programs(),
            timeout=timeout,
            on_output=on_output or _to_own_streams,
            attached=attached,
        )

    def _for_programs(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    def _open_breakers(self) -> dict[str, bool]:
        return {name: state is not State.CLOSED for name, state in self._launcher.breaker_states().items()}


def _to_own_streams(stream: int, data: bytes) -> None:
    target = sys.stdout if stream == 1 else sys.stderr
    if hasattr(target, "buffer"):
        target.buffer.write(data)
    else:  # replaced by something that takes text only, as notebooks do
        target.write(data.decode(errors="replace"))
    target.flush()

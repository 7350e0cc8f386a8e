"""`bitnet run | serve | diagnose | watch | metrics`: thin verbs over `BitNetRuntime`.

Standard output belongs to the program that runs, or to the answer that was asked for; everything else goes to standard
error. Exit status: that of the program; 1 for a failure, 2 for something that cannot work as given, 124 for a
deadline, 128 and the signal's number for a program that a signal ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bitnet import cli_options, report
from bitnet.answer import answer_in
from bitnet.diagnostics import Diagnostics
from bitnet.errors import InvalidInput, LaunchFailed, RuntimeFailure, RuntimeTimeoutError
from bitnet.launch import Retries
from bitnet.listener import Listener
from bitnet.plan import Engine, check_port
from bitnet.runtime import BitNetRuntime
from bitnet.telemetry import Event, JsonLinesSink, Sink, Telemetry
from bitnet.watchdog import Watchdog

FAILED, USAGE, TIMED_OUT, SIGNALLED, INTERRUPTED = 1, 2, 124, 128, 130


@dataclass(frozen=True)
class _Call:
    """One call of the command line."""

    options: argparse.Namespace
    sinks: tuple[Sink, ...]
    runtime: BitNetRuntime

    def asked(self, *names: str) -> dict[str, Any]:
        """The named options as keyword arguments, with those that every launch takes."""
        common = ("ctx_size", "threads", "batch_size", "gpu_layers", "extra_args")
        return {name: getattr(self.options, name) for name in (*common, *names)}

    def diagnostics(self) -> Diagnostics:
        engine: Engine = getattr(self.options, "engine", "build")  # `run` has llama-cli alone, which no wheel brings
        return self.runtime.diagnostics(self.options.model, ctx_size=self.options.ctx_size, engine=engine)


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; gives the exit status."""
    options = cli_options.parser().parse_args(argv)
    with ExitStack() as stack:
        try:
            return _run_verb(options, stack)
        except RuntimeFailure as error:
            _say_failure(error, as_json=options.json)
            return _status(error)
        except KeyboardInterrupt:
            return INTERRUPTED


def _run_verb(options: argparse.Namespace, stack: ExitStack) -> int:
    sinks = _sinks(options.telemetry_out, stack)
    runtime = BitNetRuntime(
        options.build_dir, sinks=sinks, json_logs=options.log_json, retries=Retries(attempts=options.retries + 1)
    )
    call = _Call(options, sinks, runtime)
    if options.verb == "diagnose":
        return _diagnose(call)
    if options.verb == "metrics":
        return _metrics(call)
    if options.diagnostics and not (options.json and options.dry_run):
        found = call.diagnostics()
        _tell(json.dumps(found.as_dict()) if options.json else report.text(found))
    return {"run": _run, "serve": _serve, "watch": _watch}[options.verb](call)


def _sinks(path: str | None, stack: ExitStack) -> tuple[Sink, ...]:
    if not path:
        return ()
    try:
        return (stack.enter_context(JsonLinesSink(path)),)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be written", why=str(error.strerror), next_step="give another --telemetry-out"
        ) from None


def _run(call: _Call) -> int:
    options = call.options
    asked = call.asked("prompt", "n_predict", "temperature", "conversation")
    if options.dry_run:
        return _print_command(call, call.runtime.run_inference(options.model, dry_run=True, **asked))
    on_output = _swallow if options.json and not options.conversation else None
    finished = call.runtime.run_inference(options.model, timeout=options.timeout, on_output=on_output, **asked)
    if options.json:
        kept = ("command", "returncode", "stdout", "stderr", "started_at", "completed_at", "duration")
        answer = answer_in(finished.stdout, options.prompt)
        _answer(json.dumps({"answer": answer, **{name: getattr(finished, name) for name in kept}}))
    return 0


def _serve(call: _Call) -> int:
    asked = call.asked("host", "port", "n_predict", "parallel", "engine")
    if call.options.dry_run:
        return _print_command(call, call.runtime.run_server(call.options.model, dry_run=True, **asked))
    call.runtime.run_server(call.options.model, replace=True, **asked)
    raise AssertionError("not reached: this process became the server")  # pragma: no cover


def _watch(call: _Call) -> int:
    options = call.options
    asked = call.asked("host", "port", "n_predict", "parallel", "engine")
    command = call.runtime.run_server(options.model, dry_run=True, **asked)
    if options.dry_run:
        return _print_command(call, command)
    check_port(options.host, options.port)
    watched = cli_options.watch_options(options, command, os.environ.get("LLAMA_API_KEY", ""))
    told = Telemetry([*call.sinks, lambda event: _tell(report.event(event, as_json=options.json or options.log_json))])

    async def watch() -> int:
        watchdog = Watchdog(watched, os.environ, told)
        with ExitStack() as stack:
            if options.listen:
                host, port = options.listen
                stack.enter_context(Listener(host, port, watchdog.state.metrics, watchdog.state.health))
            return (await watchdog.run(signals=True)).value

    return asyncio.run(watch())


def _metrics(call: _Call) -> int:
    host, port = call.options.listen
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads, which inherit it
    with call.runtime.metrics_endpoint(host, port, token=os.environ.get("BITNET_METRICS_TOKEN", "")) as endpoint:
        _tell(f"bitnet: {report.local_url(host, endpoint.port)}/metrics")
        signal.sigwait(ends)
    return 0


def _diagnose(call: _Call) -> int:
    if call.options.dry_run:
        return _print_command(call, _own_command(call))
    found = call.diagnostics()
    for sink in call.sinks:
        sink(Event("diagnostics", found.as_dict()))
    _answer(json.dumps(found.as_dict(), indent=2) if call.options.json else report.text(found))
    return 0 if found.healthy else FAILED


def _own_command(call: _Call) -> list[str]:
    """This very diagnosis, from any folder: say for `ExecCondition=`."""
    words = [sys.executable, "-m", "bitnet", "diagnose", "--build-dir", str(call.runtime.build_dir)]
    words += ["--model", str(call.options.model.absolute())] if call.options.model else []
    return [*words, "--ctx-size", str(call.options.ctx_size), "--engine", call.options.engine]


def _print_command(call: _Call, command: list[str]) -> int:
    """One line that a shell reads as the same words, and what a unit file needs besides."""
    if not call.options.json:
        _answer(report.command_line(command))
        if note := report.unit_file_note(command):
            _tell(f"bitnet: {note}")
        return 0
    found = call.diagnostics().as_dict() if call.options.diagnostics else None
    _answer(json.dumps({"command": command, "line": shlex.join(command), "diagnostics": found}))
    return 0


def _say_failure(error: RuntimeFailure, *, as_json: bool) -> None:
    _tell(f"bitnet: {error}")
    if as_json:
        facts = {"error": type(error).__name__, "what": error.what, "why": error.why, "next": error.next_step}
        output = {name: getattr(error, name) for name in ("stdout", "stderr", "returncode") if hasattr(error, name)}
        _answer(json.dumps({**facts, **output}))


def _status(error: RuntimeFailure) -> int:
    if isinstance(error, RuntimeTimeoutError):
        return TIMED_OUT
    if isinstance(error, LaunchFailed) and error.returncode:
        return error.returncode if error.returncode > 0 else SIGNALLED - error.returncode
    return USAGE if isinstance(error, InvalidInput) else FAILED


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _swallow(_stream: int, _data: bytes) -> None:
    """Output that is printed as JSON at the end."""

"""The options of `bitnet`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal

from bitnet import __version__
from bitnet.report import local_url
from bitnet.runtime import DEFAULT_CONTEXT, DEFAULT_PORT, METRICS_PORT
from bitnet.watchdog import Patience, RestartPolicy, WatchOptions

_EXAMPLES = {
    "run": "bitnet run --model models/demo.gguf --prompt 'Say hello' --n-predict 32",
    "serve": "bitnet serve --model models/demo.gguf --port 8081",
    "diagnose": "bitnet diagnose --model models/demo.gguf --json",
    "watch": "bitnet watch --model models/demo.gguf --port 8081 --stall-timeout 120",
    "metrics": "bitnet metrics --listen 127.0.0.1:9482",
}


def parser() -> argparse.ArgumentParser:
    """The command line of all verbs."""
    top = argparse.ArgumentParser(prog="bitnet", description="Run, serve, diagnose, watch and measure compiled models.")
    top.add_argument("--version", action="version", version=f"bitnet, version {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = _verb(verbs, "run", "answer one prompt, or chat", needs_model=True)
    run.add_argument("-p", "--prompt", default="", help="what to answer")
    run.add_argument("-n", "--n-predict", type=int, default=128, help="tokens at most, -1: no limit (default 128)")
    run.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest token (default 0.8)")
    run.add_argument("-cnv", "--conversation", action="store_true", help="chat on this terminal")
    run.add_argument("--timeout", type=float, help="end it after so many seconds")
    serve = _verb(verbs, "serve", "become a llama-server (same process id)", needs_model=True)
    _add_server(serve)
    diagnose = _verb(verbs, "diagnose", "say what there is to run with, and how the machine is", needs_model=False)
    _add_engine(diagnose)
    watch = _verb(verbs, "watch", "keep a llama-server working", needs_model=True)
    _add_server(watch)
    _add_watch(watch)
    metrics = verbs.add_parser(
        "metrics",
        help="serve bitnet_runtime_* to Prometheus",
        description="Serve what the runtime sees of this machine to Prometheus, until it is ended.",
        epilog=f"example: {_EXAMPLES['metrics']}; beyond loopback BITNET_METRICS_TOKEN has to be set",
        allow_abbrev=False,
    )
    _add_build_dir(metrics)
    metrics.add_argument(
        "--listen",
        type=_host_port,
        default=("127.0.0.1", METRICS_PORT),
        metavar="HOST:PORT",
        help=f"where /metrics and /healthz are (default 127.0.0.1:{METRICS_PORT})",
    )
    metrics.set_defaults(json=False, log_json=False, telemetry_out=None, retries=0)
    return top


def _add_build_dir(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--build-dir",
        default=os.environ.get("BITNET_BUILD_DIR", "build"),
        help="the folder with bin/llama-cli and bin/llama-server (default: $BITNET_BUILD_DIR, or build)",
    )


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, *, needs_model: bool
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example: {_EXAMPLES[name]}",
        allow_abbrev=False,
    )
    verb.add_argument("-m", "--model", type=Path, required=needs_model, help="the GGUF file")
    _add_build_dir(verb)
    verb.add_argument(
        "-c", "--ctx-size", type=int, default=DEFAULT_CONTEXT, help=f"tokens of context (default {DEFAULT_CONTEXT})"
    )
    verb.add_argument(
        "-t", "--threads", type=_number_or_auto, default="auto", help="a number, or auto: the cores that are ours"
    )
    verb.add_argument(
        "-b",
        "--batch-size",
        type=int,
        help="prompt tokens evaluated at once (default: llama.cpp's 2048; 1 makes long prompts very slow)",
    )
    verb.add_argument(
        "-ngl", "--gpu-layers", type=_number_or_auto, default="auto", help="a number, or auto: what fits into the VRAM"
    )
    verb.add_argument(
        "--extra-args",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARG",
        help="everything after this goes to the program as it is",
    )
    verb.add_argument("--retries", type=int, default=0, help="try a failed launch again so often (default 0)")
    verb.add_argument(
        "--dry-run", action="store_true", help="print the command as one shell-safe line, and run nothing"
    )
    verb.add_argument("--diagnostics", action="store_true", help="report on builds, model and machine, on stderr")
    verb.add_argument("--json", action="store_true", help="answer in JSON")
    verb.add_argument("--log-json", action="store_true", help="log what happens as JSON lines, on stderr")
    verb.add_argument("--telemetry-out", metavar="FILE", help="append what happens to FILE as JSON lines")
    return verb


def _add_server(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--host", default="127.0.0.1", help="where it listens (default 127.0.0.1: this machine alone)")
    verb.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}")
    verb.add_argument("-n", "--n-predict", type=int, help="tokens of an answer at most (default: as requests say)")
    _add_engine(verb)
    verb.add_argument("--parallel", type=int, help="requests answered at once (default: llama-server decides)")


def _add_engine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--engine",
        choices=("build", "wheel"),
        default="build",
        help="build: compiled, of --build-dir; wheel: prebuilt, the package xllamacpp (default build)",
    )


def _add_watch(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 9481),
        metavar="HOST:PORT",
        help="the watchdog's own /healthz and /metrics (default 127.0.0.1:9481; 'off' for none)",
    )
    seconds = {
        "--interval": (2.0, "between two looks at the server"),
        "--poll-timeout": (5.0, "that one answer may take"),
        "--load-timeout": (600.0, "that loading may take"),
        "--silence-timeout": (30.0, "without an answer before a restart"),
        "--stall-timeout": (120.0, "with requests in flight and no progress before a restart"),
        "--drain": (30.0, "for requests in flight when asked to stop"),
        "--grace": (5.0, "between SIGTERM and SIGKILL"),
        "--backoff": (1.0, "before the first restart; doubles each time"),
        "--max-backoff": (60.0, "before a restart at most"),
        "--restart-window": (900.0, "after which a restart is forgotten"),
    }
    for option, (default, meaning) in seconds.items():
        verb.add_argument(option, type=float, default=default, help=f"seconds {meaning} (default {default:g})")
    verb.add_argument(
        "--max-restarts", type=int, default=5, help="within the window, before giving up with status 1 (default 5)"
    )


def watch_options(options: argparse.Namespace, command: list[str], api_key: str) -> WatchOptions:
    """What the options say about watching."""
    return WatchOptions(
        command=command,
        url=local_url(options.host, options.port),
        interval=options.interval,
        poll_timeout=options.poll_timeout,
        drain=options.drain,
        grace=options.grace,
        api_key=api_key,
        patience=Patience(options.load_timeout, options.silence_timeout, options.stall_timeout),
        restarts=RestartPolicy(options.max_restarts, options.restart_window, options.backoff, options.max_backoff),
    )


def _number_or_auto(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _address(text: str) -> tuple[str, int] | None:
    return None if text == "off" else _host_port(text)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)

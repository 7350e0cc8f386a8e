"""llama-server on the prebuilt wheel `xllamacpp`: its options, signals, exit statuses and log, and nothing compiled.

The wheel holds llama.cpp's own server as a Python extension. This file makes a program of it that takes the options of
llama.cpp's `llama-server` (tools/server/README.md there) that services here use, and refuses any other by name. It is
also sent to hosts as it is, where the extension lies beside it as `libxllamacpp.so`; so it uses the standard library
alone and imports nothing of ours. As llama-server does, it ends with status 1 where it cannot serve, with 0 after
SIGTERM or Ctrl-C, and by the signal itself while it still loads the model.
"""

import argparse
import difflib
import os
import platform
import signal
import sys
import threading
from importlib import machinery, metadata, util
from typing import Any, Callable, Mapping, NamedTuple, NoReturn, Optional, Sequence, Set

EXTENSION = "libxllamacpp.so"
OLDEST_PYTHON = (3, 10)  # the wheel is built for CPython's stable ABI of that version
# What its kernels were compiled with (get_system_info), as /proc/cpuinfo names it. Elsewhere no more than the
# architecture itself asks for.
FEATURES = {"x86_64": ("avx", "avx2", "bmi2", "f16c", "fma")}
_SLOTS = 4  # llama-server's own number where `--parallel` does not say, with one cache for all of them
_LARGEST_KEYS = 1 << 20


class Option(NamedTuple):
    """One option of llama-server: how it is written, which variable gives it too, and what it does to the parameters.

    Attributes:
        read: makes the value of the text; None for a switch.
    """

    names: Sequence[str]
    variable: str
    read: Optional[Callable[[str], Any]]
    apply: Callable[[Any, Any], None]
    help: str


def _attribute(path: str) -> Callable[[Any, Any], None]:
    *parents, name = path.split(".")

    def apply(params: Any, value: Any) -> None:
        for parent in parents:
            params = getattr(params, parent)
        setattr(params, name, value)

    return apply


def _host(params: Any, value: str) -> None:
    params.hostnames = [value]


def _parallel(params: Any, value: int) -> None:
    params.n_parallel, params.kv_unified = (_SLOTS, True) if value < 0 else (value, False)


def _threads(params: Any, value: int) -> None:
    params.cpuparams.n_threads = value
    if params.cpuparams_batch.n_threads < 0:
        params.cpuparams_batch.n_threads = value


def _alias(params: Any, value: str) -> None:
    params.model_alias = {value}


def _layers(_params: Any, value: str) -> None:
    if value not in ("auto", "0"):
        sys.stderr.write("warning: no usable GPU found, --gpu-layers option will be ignored\n")


def _timeout(params: Any, value: int) -> None:
    params.timeout_read = params.timeout_write = value


def _keys(params: Any, value: str) -> None:
    params.api_keys = [*params.api_keys, *filter(None, value.split(","))]


def _key_file(params: Any, value: str) -> None:
    """Each line is a key, but for comments; a file without any would leave the server open to everybody."""
    with open(value, encoding="utf-8") as file:
        lines = file.read(_LARGEST_KEYS).splitlines()
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError("there is no key in it")
    params.api_keys = [*params.api_keys, *keys]


OPTIONS = (
    Option(("-m", "--model"), "LLAMA_ARG_MODEL", str, _attribute("model.path"), "the GGUF file"),
    Option(("-a", "--alias"), "LLAMA_ARG_ALIAS", str, _alias, "the model's name in answers"),
    Option(("--host",), "LLAMA_ARG_HOST", str, _host, "where it listens (default 127.0.0.1)"),
    Option(("--port",), "LLAMA_ARG_PORT", int, _attribute("port"), "default 8080"),
    Option(("-c", "--ctx-size"), "LLAMA_ARG_CTX_SIZE", int, _attribute("n_ctx"), "tokens of context; 0: the model's"),
    Option(("-t", "--threads"), "LLAMA_ARG_THREADS", int, _threads, "threads that generate"),
    Option(
        ("-tb", "--threads-batch"), "", int, _attribute("cpuparams_batch.n_threads"), "threads that read the prompt"
    ),
    Option(("--threads-http",), "LLAMA_ARG_THREADS_HTTP", int, _attribute("n_threads_http"), "threads for requests"),
    Option(("-b", "--batch-size"), "LLAMA_ARG_BATCH", int, _attribute("n_batch"), "prompt tokens evaluated at once"),
    Option(("-ub", "--ubatch-size"), "LLAMA_ARG_UBATCH", int, _attribute("n_ubatch"), "the same, in hardware"),
    Option(("-n", "--predict", "--n-predict"), "LLAMA_ARG_N_PREDICT", int, _attribute("n_predict"), "tokens at most"),
    Option(("-np", "--parallel"), "LLAMA_ARG_N_PARALLEL", int, _parallel, "requests answered at once (default 4)"),
    Option(("-ngl", "--gpu-layers", "--n-gpu-layers"), "LLAMA_ARG_N_GPU_LAYERS", str, _layers, "it has no GPU backend"),
    Option(("-s", "--seed"), "", int, _attribute("sampling.seed"), "of the random numbers; -1: another each time"),
    Option(("--temp",), "", float, _attribute("sampling.temp"), "temperature (default 0.8)"),
    Option(("-to", "--timeout"), "LLAMA_ARG_TIMEOUT", int, _timeout, "seconds that a client may be silent"),
    Option(("--chat-template",), "LLAMA_ARG_CHAT_TEMPLATE", str, _attribute("chat_template"), "instead of the model's"),
    Option(("--api-prefix",), "LLAMA_ARG_API_PREFIX", str, _attribute("api_prefix"), "in front of every path"),
    Option(("--api-key",), "LLAMA_API_KEY", str, _keys, "demanded of clients; several with commas"),
    Option(("--api-key-file",), "LLAMA_ARG_API_KEY_FILE", str, _key_file, "a file with a key in each line"),
    Option(("--metrics",), "LLAMA_ARG_ENDPOINT_METRICS", None, _attribute("endpoint_metrics"), "serve /metrics"),
    Option(("--props",), "LLAMA_ARG_ENDPOINT_PROPS", None, _attribute("endpoint_props"), "POST /props may change"),
    Option(("--jinja",), "LLAMA_ARG_JINJA", None, _attribute("use_jinja"), "chat templates by Jinja (the default)"),
)


class _Refused(Exception):
    """What llama-server ends with status 1 for; the text says what."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def parser() -> argparse.ArgumentParser:
    """The command line. A value that is not given is None: the variable counts then, and then llama.cpp's default."""
    top = _Parser(
        prog="llama-server",
        description="llama.cpp's server, from the wheel xllamacpp.",
        epilog="Other options of llama-server need a compiled one: deploy native build.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="say which, and end")
    for option in OPTIONS:
        text = option.help + (" [" + option.variable + "]" if option.variable else "")
        if option.read is None:
            top.add_argument(*option.names, dest=_dest(option), action="store_const", const=True, help=text)
        else:
            top.add_argument(*option.names, dest=_dest(option), type=option.read, metavar="VALUE", help=text)
    return top


def _dest(option: Option) -> str:
    return option.names[-1].lstrip("-").replace("-", "_")


def asked(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """What the command line and the environment say; the command line wins, as in llama-server.

    Raises:
        _Refused: an option that this program does not have, or a value that is none.
    """
    found, unknown = parser().parse_known_args(list(arguments))
    for word in unknown:
        name = word.split("=", 1)[0]
        near = difflib.get_close_matches(name, [name for option in OPTIONS for name in option.names], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise _Refused(
            f"invalid argument: {name}: {hint}the wheel engine has no such option; a compiled llama-server may have it "
            '(engine = "build")'
        )
    for option in OPTIONS:
        text = environment.get(option.variable, "") if option.variable else ""
        if not text or getattr(found, _dest(option)) is not None:
            continue
        try:
            value = option.read(text) if option.read else text.lower() in ("1", "true", "on", "enabled") or None
        except ValueError:
            raise _Refused(f"{option.variable}={text!r}: not a value of {option.names[-1]}") from None
        setattr(found, _dest(option), value)
    return found


def parameters(extension: Any, options: argparse.Namespace) -> Any:
    """The wheel's parameters for `options`, with llama-server's defaults where the library has others.

    Raises:
        _Refused: a value cannot be used.
    """
    params = extension.CommonParams()
    params.ui = False
    _parallel(params, -1)
    for option in OPTIONS:
        value = getattr(options, _dest(option))
        if value is None:
            continue
        try:
            option.apply(params, value)
        except (OSError, ValueError, OverflowError) as error:
            shown = "" if option.apply is _keys else f" {value}"
            raise _Refused(f"{option.names[-1]}{shown}: {error}") from None
    return params


def lacking() -> str:
    """Why the wheel cannot run on this machine; empty where nothing speaks against it."""
    if sys.version_info < OLDEST_PYTHON:
        return "it needs Python {}.{} or newer, and {} is {}".format(
            *OLDEST_PYTHON, sys.executable, platform.python_version()
        )
    has = _cpu_features()
    missing = sorted(set(FEATURES.get(os.uname().machine, ())) - has) if has else []
    return "it needs {}, which this processor lacks".format(", ".join(missing)) if missing else ""


def _cpu_features() -> Set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(flags.partition(":")[2].split())


def _beside(name: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


def load() -> Any:
    """The wheel's extension: the one beside this file, else the package that is installed for this Python.

    Raises:
        _Refused: it cannot run here, or is not there.
    """
    if why := lacking():
        raise _Refused("xllamacpp does not run here: " + why)
    beside = _beside(EXTENSION)
    try:
        if os.path.exists(beside):
            loader = machinery.ExtensionFileLoader("xllamacpp", beside)
            found = util.module_from_spec(machinery.ModuleSpec("xllamacpp", loader, origin=beside))
            loader.exec_module(found)
            return found
        import xllamacpp

        return xllamacpp
    except ModuleNotFoundError:
        raise _Refused(f"xllamacpp is not installed for {sys.executable}") from None
    except ImportError as error:  # a library of the system is missing
        raise _Refused(f"xllamacpp does not load here: {error}") from None


def version() -> str:
    """Which wheel it is: noted beside this file on a host, else as it was installed."""
    try:
        with open(_beside("VERSION"), encoding="ascii") as file:
            return file.read(100).strip()
    except OSError:
        return metadata.version("xllamacpp")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    try:
        options = asked(sys.argv[1:] if arguments is None else arguments, os.environ)
        extension = load()
        if options.version:
            sys.stderr.write(f"version: {version()} (xllamacpp)\n")
            return 0
        if options.model is None:
            raise _Refused("--model is missing")
        return _serve(extension, parameters(extension, options))
    except _Refused as refusal:
        sys.stderr.write(f"error: {refusal}\n")
        return 1


def _serve(extension: Any, params: Any) -> int:
    # Python's own handler would wait for the model; until it is loaded a signal just ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        server = extension.Server(params)
    except RuntimeError:
        return 1  # llama.cpp has said why
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    del server  # what is in work ends, as with llama-server
    return 0


if __name__ == "__main__":
    sys.exit(main())

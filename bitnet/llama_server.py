"""llama-server on the prebuilt wheel `xllamacpp`: its options, signals, exit statuses and log, and nothing compiled.

The wheel holds llama.cpp's own server as a Python extension. This file makes a program of it that takes the options of
llama.cpp's `llama-server` (tools/server/README.md there) that services here use, and refuses any other by name. It is
also sent to hosts as it is, where the extension lies beside it as `libxllamacpp.so`; so it uses the standard library
alone and imports nothing of ours. As llama-server does, it ends with status 1 where it cannot serve, with 0 after
SIGTERM or Ctrl-C, and by the signal itself while it still loads the model.
"""

import csv
import difflib
import os
import platform
import signal
import sys
import threading
from importlib import machinery, metadata, util
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

EXTENSION = "libxllamacpp.so"
OLDEST_PYTHON = (3, 10)  # the wheel is built for CPython's stable ABI of that version
# What its kernels were compiled with (get_system_info), as /proc/cpuinfo names it. Elsewhere no more than the
# architecture itself asks for.
FEATURES = {"x86_64": ("avx", "avx2", "bmi2", "f16c", "fma")}
_SLOTS = 4  # llama-server's own number where `--parallel` does not say, with one cache for all of them
_LARGEST_KEYS = 1 << 20
_MOST = 2**31 - 1  # llama.cpp keeps numbers in 32-bit ints
# How llama.cpp reads switches from variables (common/arg.cpp, is_truthy and is_falsey).
_SWITCH = {"on": True, "enabled": True, "true": True, "1": True}
_DRAFTING = {"none": 0, "draft-simple": 1}  # llama.cpp's common_speculative_type
_SWITCH.update({"off": False, "disabled": False, "false": False, "0": False})


class Option(NamedTuple):
    """One option of llama-server: how it is written, which variable gives it too, and what it does to the parameters.

    Attributes:
        read: makes the value of the text, or raises ValueError; None for a switch.
    """

    names: Sequence[str]
    variable: str
    read: Optional[Callable[[str], Any]]
    apply: Callable[[Any, Any], None]
    help: str


class Refused(Exception):
    """What llama-server ends with status 1 for; the text says what."""


class Asked(NamedTuple):
    """A command line, read: the value of each option that was given, by its longest name."""

    values: Dict[str, Any]
    version: bool = False
    help: bool = False


def _number(least: int, most: int = _MOST) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError(f"expected a number from {least} to {most}")
        return value

    return read


def _threads(text: str) -> int:
    """0 and less are all cores that this process may use, as llama-server takes all that the machine has."""
    value = _number(-1)(text)
    return value if value > 0 else len(os.sched_getaffinity(0))


def _parallel(text: str) -> int:
    value = _number(-1)(text)
    if value == 0:
        raise ValueError("expected -1 or a number from 1")
    return value


def _layers(text: str) -> str:
    return text if text in ("auto", "all") else str(_number(-1)(text))


def _hosts(text: str) -> List[str]:
    hosts = [host.strip() for host in text.split(",")]
    if not all(hosts) or any("/" in host or host.endswith(".sock") for host in hosts):
        raise ValueError("expected an address, or several with commas")
    return hosts


def _keys(text: str) -> List[str]:
    """One row of comma-separated values; without any key the server would answer everybody."""
    keys = [key for key in next(csv.reader([text]), []) if key]
    if not keys:
        raise ValueError("there is no key in it")
    return keys


def _key_file(path: str) -> List[str]:
    """Each line is a key, but for comments; a file without any would leave the server open to everybody."""
    with open(path, "rb") as file:
        content = file.read(_LARGEST_KEYS + 1)
    if len(content) > _LARGEST_KEYS:
        raise ValueError(f"it is larger than {_LARGEST_KEYS} bytes")
    lines = content.decode("utf-8-sig").split("\n")
    keys = [line[:-1] if line.endswith("\r") else line for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ValueError("there is no key in it")
    return keys


def _attribute(path: str) -> Callable[[Any, Any], None]:
    *parents, name = path.split(".")

    def apply(params: Any, value: Any) -> None:
        for parent in parents:
            params = getattr(params, parent)
        setattr(params, name, value)

    return apply


def _set_parallel(params: Any, value: int) -> None:
    params.n_parallel, params.kv_unified = (_SLOTS, True) if value < 0 else (value, False)


def _set_threads(params: Any, value: int) -> None:
    params.cpuparams.n_threads = value
    for others in (
        params.cpuparams_batch,
        params.speculative.draft.cpuparams,
        params.speculative.draft.cpuparams_batch,
    ):
        if others.n_threads < 0:
            others.n_threads = value


def _drafting(text: str) -> int:
    if text not in _DRAFTING:
        raise ValueError("expected " + " or ".join(_DRAFTING))
    return _DRAFTING[text]


def _set_drafting(params: Any, value: int) -> None:
    params.speculative.types = [value]


def _set_seed(params: Any, value: int) -> None:
    params.sampling.seed = value & 0xFFFFFFFF


def _set_alias(params: Any, value: str) -> None:
    params.model_alias = {value}


def _set_layers(_params: Any, value: str) -> None:
    if value not in ("auto", "0"):
        sys.stderr.write("warning: no usable GPU found, --gpu-layers option will be ignored\n")


def _set_timeout(params: Any, value: int) -> None:
    params.timeout_read = params.timeout_write = value


def _add_keys(params: Any, value: List[str]) -> None:
    params.api_keys = [*params.api_keys, *value]


OPTIONS = (
    Option(("-m", "--model"), "LLAMA_ARG_MODEL", str, _attribute("model.path"), "the GGUF file"),
    Option(
        ("--spec-draft-model", "-md", "--model-draft"),
        "LLAMA_ARG_SPEC_DRAFT_MODEL",
        str,
        _attribute("speculative.draft.mparams.path"),
        "a smaller one that drafts",
    ),
    Option(("--spec-type",), "LLAMA_ARG_SPEC_TYPE", _drafting, _set_drafting, "draft-simple: use it (default none)"),
    Option(
        ("--spec-draft-n-max",),
        "LLAMA_ARG_SPEC_DRAFT_N_MAX",
        _number(0),
        _attribute("speculative.draft.n_max"),
        "tokens that it drafts at once (default 3)",
    ),
    Option(("-mm", "--mmproj"), "LLAMA_ARG_MMPROJ", str, _attribute("mmproj.path"), "what lets it see, a GGUF file"),
    Option(("-a", "--alias"), "LLAMA_ARG_ALIAS", str, _set_alias, "the model's name in answers"),
    Option(("--host",), "LLAMA_ARG_HOST", _hosts, _attribute("hostnames"), "where it listens (default 127.0.0.1)"),
    Option(("--port",), "LLAMA_ARG_PORT", _number(0, 65535), _attribute("port"), "default 8080; 0: any that is free"),
    Option(
        ("-c", "--ctx-size"), "LLAMA_ARG_CTX_SIZE", _number(0), _attribute("n_ctx"), "tokens of context (0: its own)"
    ),
    Option(("-t", "--threads"), "LLAMA_ARG_THREADS", _threads, _set_threads, "threads that generate (0: all cores)"),
    Option(("-tb", "--threads-batch"), "", _threads, _attribute("cpuparams_batch.n_threads"), "those for the prompt"),
    Option(("--threads-http",), "LLAMA_ARG_THREADS_HTTP", _number(-1), _attribute("n_threads_http"), "for requests"),
    Option(("-b", "--batch-size"), "LLAMA_ARG_BATCH", _number(1), _attribute("n_batch"), "prompt tokens at once"),
    Option(("-ub", "--ubatch-size"), "LLAMA_ARG_UBATCH", _number(1), _attribute("n_ubatch"), "the same, in hardware"),
    Option(
        ("-n", "--predict", "--n-predict"),
        "LLAMA_ARG_N_PREDICT",
        _number(-1),
        _attribute("n_predict"),
        "tokens at most",
    ),
    Option(("-np", "--parallel"), "LLAMA_ARG_N_PARALLEL", _parallel, _set_parallel, "requests at once (default 4)"),
    Option(
        ("-ngl", "--gpu-layers", "--n-gpu-layers"), "LLAMA_ARG_N_GPU_LAYERS", _layers, _set_layers, "it uses no GPU"
    ),
    Option(("-s", "--seed"), "", _number(-1, 2**32 - 1), _set_seed, "of the random numbers; -1: another each time"),
    Option(("--temp",), "", float, _attribute("sampling.temp"), "temperature (default 0.8)"),
    Option(("-to", "--timeout"), "LLAMA_ARG_TIMEOUT", _number(1), _set_timeout, "seconds that a client may be silent"),
    Option(("--chat-template",), "LLAMA_ARG_CHAT_TEMPLATE", str, _attribute("chat_template"), "instead of the model's"),
    Option(("--api-prefix",), "LLAMA_ARG_API_PREFIX", str, _attribute("api_prefix"), "in front of every path"),
    Option(("--api-key",), "LLAMA_API_KEY", _keys, _add_keys, "demanded of clients; several with commas"),
    Option(("--api-key-file",), "LLAMA_ARG_API_KEY_FILE", _key_file, _add_keys, "a file with a key in each line"),
    Option(("--metrics",), "LLAMA_ARG_ENDPOINT_METRICS", None, _attribute("endpoint_metrics"), "serve /metrics"),
    Option(("--props",), "LLAMA_ARG_ENDPOINT_PROPS", None, _attribute("endpoint_props"), "POST /props may change"),
    Option(
        ("-lv", "--verbosity", "--log-verbosity"),
        "LLAMA_ARG_LOG_VERBOSITY",
        _number(0),
        _attribute("verbosity"),
        "0: least",
    ),
    Option(("--jinja",), "LLAMA_ARG_JINJA", None, _attribute("use_jinja"), "chat templates by Jinja (the default)"),
)
_BY_NAME = {name: option for option in OPTIONS for name in option.names}
_SECRET = ("--api-key",)


def pairs(arguments: Sequence[str]) -> Iterator[Tuple[str, Optional[Option], str]]:
    """Each option as it is written, what it is (None: help or version), and its value.

    Raises:
        Refused: an option that this program does not have, or one without its value.
    """
    words = iter(arguments)
    for word in words:
        option = _BY_NAME.get(word)
        if option is None and word not in ("-h", "--help", "--version"):
            raise Refused(_unknown("invalid argument", word, _BY_NAME))
        text = next(words, None) if option and option.read else ""
        if text is None:
            raise Refused(f"{word}: expected a value")
        yield word, option, text


def asked(arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """What the command line and the environment say; the command line wins, and its last word, as in llama-server.

    A word after an option is its value whatever it looks like: a key may begin with a dash.

    Raises:
        Refused: an option or variable that this program does not have, or a value that is none.
    """
    values: Dict[str, Any] = {}
    for word, option, text in pairs(arguments):
        if option is None:
            return Asked({}, help=word != "--version", version=word == "--version")
        values[option.names[-1]] = _value(option, word, text) if option.read else True
    for variable, text in environment.items():
        if variable.startswith("LLAMA_ARG_") and text and not any(each.variable == variable for each in OPTIONS):
            raise Refused(_unknown("invalid variable", variable, [each.variable for each in OPTIONS if each.variable]))
    for option in OPTIONS:
        given = environment.get(option.variable) if option.variable else None
        # An empty variable is none; an empty key is one that was lost on its way.
        if option.names[-1] not in values and (given or (given is not None and option.read is _keys)):
            values[option.names[-1]] = _value(option, option.variable, given)
    return Asked(values)


def _unknown(what: str, name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"{what}: {name}: {hint}the wheel engine has no such option; a compiled llama-server may have it "
        '(engine = "build")'
    )


def _value(option: Option, name: str, text: str) -> Any:
    shown = "" if option.names[-1] in _SECRET else f" {text!r}"
    try:
        if option.read:
            return option.read(text)
        if text.lower() in _SWITCH:
            return _SWITCH[text.lower()]
        raise ValueError("expected on or off")
    except (OSError, ValueError, csv.Error) as error:
        raise Refused(f"{name}{shown}: {error}") from None


def parameters(extension: Any, values: Mapping[str, Any]) -> Any:
    """The wheel's parameters for what was asked, with llama-server's defaults where the library has others.

    Raises:
        Refused: a value cannot be used.
    """
    params = extension.CommonParams()
    params.ui = False
    _set_parallel(params, -1)
    for option in OPTIONS:
        if option.names[-1] not in values:
            continue
        try:
            option.apply(params, values[option.names[-1]])
        except (ValueError, OverflowError) as error:
            raise Refused(f"{option.names[-1]}: {error}") from None
    return params


def usage() -> str:
    """What `--help` says."""
    lines = ["usage: llama-server --model FILE [OPTION…]", "", "llama.cpp's server, from the wheel xllamacpp.", ""]
    for option in OPTIONS:
        written = ", ".join(option.names) + (" VALUE" if option.read else "")
        lines.append(f"  {written:<42} {option.help}" + (f" [{option.variable}]" if option.variable else ""))
    lines += ["  --version                                  say which, and end", ""]
    return "\n".join([*lines, "Other options of llama-server need a compiled one: deploy native build", ""])


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
        Refused: it cannot run here, or is not there.
    """
    if why := lacking():
        raise Refused("xllamacpp does not run here: " + why)
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
        raise Refused(f"xllamacpp is not installed for {sys.executable}") from None
    except ImportError as error:  # a library of the system is missing
        raise Refused(f"xllamacpp does not load here: {error}") from None


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
        found = asked(sys.argv[1:] if arguments is None else arguments, os.environ)
        if found.help:
            sys.stdout.write(usage())
            return 0
        extension = load()
        if found.version:
            sys.stderr.write(f"version: {version()} (xllamacpp)\n")
            return 0
        if "--model" not in found.values:
            raise Refused("--model is missing")
        return _serve(extension, parameters(extension, found.values))
    except Refused as refusal:
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
    # The server waits for clients that wait for it; a second signal waits for nobody, as in llama-server.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What may be asked of llama-cli and llama-server, and the argument list that asks it. Pure.

Long options are used throughout: bitnet.cpp's llama.cpp of 2024 and today's both take them. They part at one-shot
runs. Since the end of 2025 llama-cli is always a chat, and `--single-turn` ends it after the answer; before, a run was
one-shot unless asked otherwise. The program itself tells which options it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitnet.binaries import Binary
from bitnet.errors import InvalidInput

LONGEST_ARGUMENT = 131_071  # MAX_ARG_STRLEN of Linux, less the closing NUL
_MOST = 2**31 - 1  # llama.cpp reads numbers into 32-bit ints


@dataclass(frozen=True)
class Common:
    """What both programs take, checked.

    Attributes:
        ctx_size: tokens of context; 0 is what the model was trained for.
        threads: resolved already.
        batch_size: tokens of prompt evaluated at once; None is llama.cpp's own 2048. (1 would evaluate a prompt
            token by token.)
        gpu_layers: resolved already; None says nothing, for programs without a GPU backend.
        extra_args: appended as they are.
    """

    model: Path
    ctx_size: int
    threads: int
    batch_size: int | None
    gpu_layers: int | None
    extra_args: tuple[str, ...] = ()

    def words(self) -> list[str]:
        words = ["--model", str(self.model), "--ctx-size", str(self.ctx_size), "--threads", str(self.threads)]
        if self.batch_size is not None:
            words += ["--batch-size", str(self.batch_size)]
        if self.gpu_layers is not None:
            words += ["--gpu-layers", str(self.gpu_layers)]
        return words


def inference_command(
    binary: Binary, common: Common, *, prompt: str, n_predict: int, temperature: float, conversation: bool
) -> list[str]:
    """One answer of llama-cli, or a chat."""
    words = [str(binary.path), *common.words(), "--n-predict", str(n_predict), "--temp", f"{temperature:g}"]
    chat_only = binary.has_option("--single-turn")
    if prompt:
        # llama-cli takes a first turn that starts with "/" for one of its own commands: `/read FILE` reads a file.
        words += ["--prompt", f" {prompt}" if chat_only and prompt.startswith("/") else prompt]
    if conversation:
        words += [] if chat_only else ["--conversation"]
    else:
        words += ["--single-turn"] if chat_only else []
        words += [option for option in ("--simple-io", "--no-show-timings") if binary.has_option(option)]
        words += ["--no-display-prompt"]
    return [*words, *common.extra_args]


def server_command(
    binary: Binary, common: Common, *, host: str, port: int, n_predict: int | None, parallel: int | None, metrics: bool
) -> list[str]:
    """A listening llama-server."""
    words = [*binary.words, *common.words(), "--host", host, "--port", str(port)]
    if n_predict is not None:
        words += ["--n-predict", str(n_predict)]
    if parallel is not None:
        words += ["--parallel", str(parallel)]
    return [*words, *(["--metrics"] if metrics else []), *common.extra_args]


def whole_number(name: str, value: object, least: int, most: int = _MOST, *, also: tuple[int, ...] = ()) -> int:
    """`value` if it is a whole number from `least` to `most`, or one of `also`.

    Raises:
        InvalidInput: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not (least <= value <= most or value in also):
        special = "".join(f", or {number}" for number in also)
        raise InvalidInput(
            f"{name}={value!r} is out of range",
            why=f"it must be a whole number from {least} to {most}{special}",
            next_step=f"give another {name}",
        )
    return value


def checked_temperature(value: float) -> float:
    """`value` if sampling can use it: 0 (always the likeliest token) to 10.

    Raises:
        InvalidInput: it is not.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= 10
    ):
        raise InvalidInput(
            f"temperature={value!r} is out of range",
            why="it must be a number from 0 to 10",
            next_step="0.8 is llama.cpp's default, 0 gives the same answer each time",
        )
    return float(value)


def checked_prompt(prompt: str, extra_args: Sequence[str], *, conversation: bool) -> str:
    """`prompt` if a program can be given it.

    Raises:
        InvalidInput: it is empty though nobody will type one, holds NUL, or is longer than an argument may be.
    """
    if not prompt.strip() and not conversation and not {"-f", "--file"} & set(extra_args):
        raise InvalidInput(
            "the prompt is empty", why="there is nothing to answer", next_step="give prompt=, or --prompt"
        )
    if "\0" in prompt:
        raise InvalidInput("the prompt holds NUL", why="no argument can hold it", next_step="remove it")
    if len(prompt.encode(errors="surrogateescape")) > LONGEST_ARGUMENT:
        raise InvalidInput(
            f"the prompt has more than {LONGEST_ARGUMENT} bytes",
            why="Linux takes no longer argument",
            next_step="put it into a file: prompt='', extra_args=['--file', 'PATH']",
        )
    return prompt


def checked_extra(extra_args: Sequence[str]) -> tuple[str, ...]:
    """`extra_args` if they are a list of strings.

    Raises:
        InvalidInput: they are one string, or hold something else or NUL.
    """
    if isinstance(extra_args, str) or not all(isinstance(word, str) and "\0" not in word for word in extra_args):
        raise InvalidInput(
            f"extra_args={extra_args!r} is no list of arguments",
            why="each argument is a string of its own, without NUL",
            next_step="shlex.split() makes a list of a line",
        )
    return tuple(extra_args)


def resolve_threads(threads: int | Literal["auto"], recommended: int, usable: int) -> tuple[int, str]:
    """The number of threads, and a warning if fewer than asked for.

    Raises:
        InvalidInput: neither "auto" nor a number above 0.
    """
    if threads == "auto":
        return recommended, ""
    asked = whole_number("threads", threads, 1)
    if asked <= usable:
        return asked, ""
    return usable, f"threads={asked} is more than the {usable} CPUs that this process may use; {usable} are used"

"""The keyword arguments of `BitNetRuntime`, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from bitnet.launch import OnOutput
from bitnet.plan import Auto, Engine


class CommonOptions(TypedDict, total=False):
    """What `run_inference` and `run_server` both take."""

    ctx_size: int
    threads: Auto
    batch_size: int | None
    gpu_layers: Auto
    extra_args: Sequence[str]
    timeout: float | None
    on_output: OnOutput | None


class InferenceOptions(CommonOptions, total=False):
    """What `run_inference` takes besides model and prompt."""

    n_predict: int
    temperature: float
    conversation: bool


class ServerOptions(CommonOptions, total=False):
    """What `run_server` takes besides the model."""

    host: str
    port: int
    n_predict: int | None
    parallel: int | None
    metrics: bool
    replace: bool
    engine: Engine

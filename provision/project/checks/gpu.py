"""`gpu`: layers of the model lie on the GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.project.checks.kind import Asked, Kind, shape
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.values import Text

if TYPE_CHECKING:
    from provision.agent.checks.gpu import GpuCheck


class Gpu(Section):
    gpu: Text | None = None
    """How many layers llama-server has to say that it put on the GPU, at its start: "all", a number such as "20", or
    "auto": some, where the host has one. LLAMA_ARG_LOG_VERBOSITY is 4 then, for below it says nothing."""


def _faults(path: Path, check: Gpu, has_port: bool | None) -> Iterator[Fault]:
    if check.gpu and not re.fullmatch(r"auto|all|[1-9][0-9]{0,3}", shape(check.gpu)):
        yield Fault((*path, "gpu"), 'expected "auto", "all", or a number of layers such as "20".')
    elif has_port is None:
        yield Fault((*path, "gpu"), "layers are a service's.", "Move the check to that service.")


def _document(check: Gpu, asked: Asked) -> GpuCheck:
    assert check.gpu is not None  # noqa: S101 (it is of this kind)
    layers = asked.text(check.gpu, "gpu")
    return {**asked.document("gpu", layers), "layers": layers}


KIND = Kind("gpu", _document, _faults, asks_more=lambda _: True, at_start=True, on_host=True)

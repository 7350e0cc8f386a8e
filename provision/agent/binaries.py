"""What a service's program tells by its bytes alone, on the host or before it is sent there."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, List, Sequence

from ..contract.failure import REFUSED, Failure
from ..contract.model_types import FORK_TYPES, WHO_READS, is_llama_server
from . import own_models

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument

_ELF_MACHINE = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


def check(service: ServiceDocument, document: ReleaseDocument, path: str, machine: str) -> None:
    """Refuse a program that the host's machine can't run, and a llama-server that can't read its model.

    Args:
        service: of a lane of `document`.
        path: where the program is here.
        machine: of the host, as uname(2) calls it.

    Raises:
        Failure: it can't.
    """
    with open(path, "rb") as stream:
        head = stream.read(20)
    if head[:4] == b"\x7fELF":
        built_for = _ELF_MACHINE.get(int.from_bytes(head[18:20], "little"), "another machine")
        if built_for != machine:
            raise Failure(REFUSED, f"{service['name']}: {path} is built for {built_for}; this host is {machine}.")
    models = (service.get("model"), service.get("draft"), service.get("mmproj"))
    types = {kind for name in models for kind in _types(document, name or "")}
    for tensor_type in sorted(types) if is_llama_server(path) else ():
        # Names of types stand in the type table of whatever reads them.
        mark = tensor_type.lower().encode()
        if tensor_type in FORK_TYPES and not any(_holds(part, mark) for part in _parts(path)):
            raise Failure(
                REFUSED,
                f"{service['name']}: the model holds {tensor_type} tensors, which {service['binary']} can't read.",
                why=WHO_READS,
                next_step="deploy native build --source PATH-TO-BITNET, or convert the model to TQ2_0",
            )


def _types(document: ReleaseDocument, name: str) -> Sequence[str]:
    model = document["models"].get(name)
    return model["tensor_types"] if model else own_models.types(name) if os.path.isfile(name) else []


def _parts(path: str) -> List[str]:
    """The binary and the libraries that lie beside it."""
    folder = os.path.dirname(path)
    return [
        path,
        *(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("lib") and ".so" in name),
    ]


def _holds(path: str, mark: bytes) -> bool:
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + mark + b"\0") >= 0

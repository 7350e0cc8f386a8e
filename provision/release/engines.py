"""Which engine serves each model, and whether it reads that model's tensors, as far as this machine can tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bitnet import llama_server
from provision.contract.model_types import is_llama_server, unread, without_kernels
from provision.engines import wheel
from provision.errors import UnencodableValue
from provision.project.models import name_of
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.template import Template
from provision.release import model_lock

_RECORD = "build/build.json"  # of `deploy native build`


def engines(project: Project, root: Path) -> dict[str, str]:
    """By service, a sentence about the engine that it declares."""
    return {
        name: "; ".join(
            [
                _sentence(each, root),
                *(said for model in each.every_model for said in without_kernels(model, _types(project, model, root))),
            ]
        )
        for name, each in project.services.items()
        if each.is_native
    }


def unreadable(project: Project, root: Path) -> Iterator[UnencodableValue]:
    """Models that are here and that the declared engine cannot read; what a host's own program reads, it is asked."""
    for name, service in project.services.items():
        if service.engine == "wheel" and (said := _unknown_option(service)):
            yield UnencodableValue(f"services.{name}.engine", said)
        reads = _ternary_types(service, root)
        if reads is None:
            continue
        for key, model in service.models.items():
            if wrong := unread(_types(project, model, root), reads):
                reason = (
                    f"it holds {', '.join(wrong)} tensors, which the {service.engine} engine cannot read; take a build "
                    "of microsoft/BitNet (deploy native build --source PATH-TO-BITNET), or convert the model to TQ2_0"
                )
                yield UnencodableValue(f"services.{name}.{key}", reason)


def tensor_types(model: Path) -> tuple[str, ...]:
    """The types of a model's tensors; none of what is not there, or is no model."""
    from bitnet.model import ModelUnusable, read_part  # brings numpy

    try:
        return read_part(model).tensor_types
    except ModelUnusable:
        return ()


def _types(project: Project, model: str, root: Path) -> list[str]:
    """Those of a model; none where it is not here, or not locked yet: `plan` and `up` say so."""
    if model not in project.models:
        return sorted(tensor_types(root / Path(model).expanduser()))
    locked = model_lock.read(root).models.get(name_of(model))
    return sorted({kind for file in locked.files for kind in file.tensor_types}) if locked else []


def _unknown_option(service: Service) -> str:
    """What the wheel's program would say of the command's words; values may be known on the host alone."""
    try:
        list(llama_server.pairs([_written(word) for word in service.command[1:]]))
    except llama_server.Refused as refused:
        return str(refused)
    return ""


def _written(word: Template) -> str:
    return "".join(part if isinstance(part, str) else f"${{{part.name}}}" for part in word.parts)


def _sentence(service: Service, root: Path) -> str:
    if service.engine == "wheel":
        return f"engine wheel, {wheel().name}, prebuilt; reads {_listed(wheel().ternary_types)}"
    if service.engine == "image":
        return f"engine image, {service.binary} of the host's image; the host is asked what it reads"
    if service.engine is None:
        asked = "; the host is asked what it reads" if is_llama_server(service.binary or "") else ""
        return f"binary {service.binary}, your own{asked}"
    if (record := _record(root)) is None:
        return f"engine build, and {service.binary} is not there yet: deploy native build --only llama-server"
    source = record["source"]
    made = f"{source['name']} {source.get('version', '')}".strip()
    return f"engine build, {made}, profile {record['profile']}; reads {_listed(record['ternary_types'])}"


def _ternary_types(service: Service, root: Path) -> tuple[str, ...] | None:
    """The types of ternary models that the engine reads; None where that cannot be told here."""
    if service.engine == "wheel":
        return wheel().ternary_types
    record = _record(root) if service.engine == "build" else None
    return tuple(record["ternary_types"]) if record else None


def _record(root: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((root / _RECORD).read_text(encoding="utf-8"))
        return record if {"source", "profile", "ternary_types"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _listed(types: Iterable[str]) -> str:
    return f"{', '.join(types)} of the ternary types"

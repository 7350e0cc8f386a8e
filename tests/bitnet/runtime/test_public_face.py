"""`import bitnet` is light, and every public name is there."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bitnet


@pytest.mark.parametrize("name", bitnet.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(bitnet, name).__name__ == name
    assert name in dir(bitnet)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'bitnet' has no attribute 'Bitnet'"):
        bitnet.Bitnet  # noqa: B018


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import bitnet") & {
        "grpc",
        "ray",
        "numpy",
        "gguf",
        "asyncio",
        "structlog",
        "prometheus_client",
    }


def test_the_runtime_alone_needs_neither_grpc_nor_ray_nor_the_toolkit() -> None:
    loaded = loaded_by("from bitnet import BitNetRuntime, RuntimeSupervisor; BitNetRuntime('x')")

    assert not loaded & {"grpc", "ray", "fabric", "paramiko", "docker", "pydantic", "click", "provision"}


def brought_by(distribution: str, seen: set[str]) -> set[str]:
    """What `pip install` of it brings, without extras, as far as this machine's markers want it."""
    for line in metadata.requires(distribution) or ():
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            seen.add(name)
            brought_by(name, seen)
    return seen


def test_installing_the_runtime_alone_brings_no_toolkit() -> None:
    brought = brought_by("bitnet-provision", set())

    assert {"gguf", "psutil", "structlog"} <= brought, "the walk works"
    assert not brought & {"fabric", "paramiko", "invoke", "docker", "ray", "grpcio", "opentelemetry-api", "click"}
    assert len(brought) < 20, sorted(brought)

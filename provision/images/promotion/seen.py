"""What this machine saw in registries: the only thing that tells when a registry goes back in time.

A signature says that something was true, and never that nothing came after it. So the last move of each channel and the
evidence that nothing came after are kept here, outside the registry. Without the file all else holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from provision import whole
from provision.errors import UsageError
from provision.images.registry.documents import read_json, read_time, written_time

_VARIABLE = "DEPLOY_SEEN"
_KEPT = 1000  # digests, and as many channels; those seen longest ago are forgotten first


@dataclass
class Seen:
    """What is known, from `file` and since."""

    class Move(NamedTuple):
        """The last move of a channel."""

        number: int
        mark: str
        at: datetime

    file: Path | None = None  # None: nowhere
    evidence: dict[str, dict[str, str]] = field(default_factory=dict)  # REPOSITORY@DIGEST -> artifact -> time
    moves: dict[str, list[Any]] = field(default_factory=dict)  # REPOSITORY:CHANNEL -> number, mark, time

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Seen:
        """From the file that DEPLOY_SEEN names, by default one of this user's state.

        Raises:
            UsageError: it cannot be read, so that nothing would be missed.
        """
        environ = os.environ if environ is None else environ
        state = environ.get("XDG_STATE_HOME") or "~/.local/state"
        file = Path(environ.get(_VARIABLE) or f"{state}/bitnet-provision/registries.json").expanduser()
        try:
            known = read_json(file.read_text(encoding="utf-8"))
            found = cls(file, dict(known["evidence"]), dict(known["moves"]))
            for name in found.moves:
                found.move(name)
            for name in found.evidence:
                found.beside(name)
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{file} cannot be read: it holds what this machine saw in registries.",
                why=str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"),
                next_step=f"delete it, which forgets all of that, or name another with {_VARIABLE}",
            ) from None
        return found

    def move(self, channel: str) -> Move | None:
        """The last one of `REPOSITORY:CHANNEL`."""
        if channel not in self.moves:
            return None
        number, mark, at = self.moves[channel]
        return Seen.Move(int(number), str(mark), read_time(at))

    def beside(self, image: str) -> dict[str, datetime]:
        """The evidence for `REPOSITORY@DIGEST` that nothing came after, and from when it is."""
        return {artifact: read_time(at) for artifact, at in self.evidence.get(image, {}).items()}

    def saw_move(self, channel: str, move: Move) -> None:
        self.moves.pop(channel, None)  # the latest stands last
        self.moves[channel] = [move.number, move.mark, written_time(move.at)]

    def saw_evidence(self, image: str, artifacts: Mapping[str, datetime]) -> None:
        self.evidence.pop(image, None)
        self.evidence[image] = {artifact: written_time(at) for artifact, at in artifacts.items()}

    def save(self) -> str:
        """Keep it for the next command; why not, where that does not work."""
        if self.file is None:
            return ""
        known = {
            "evidence": dict(list(self.evidence.items())[-_KEPT:]),
            "moves": dict(list(self.moves.items())[-_KEPT:]),
        }
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole.write(self.file, json.dumps(known).encode())
        except OSError as error:
            return f"{self.file}: {error.strerror}"
        return ""

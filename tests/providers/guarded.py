"""A machine of the stand-in whose guard runs here, by terms that a test says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.contract.budget import Terms
from tests.providers.conftest import SPEED, Rental


def terms(**more: Any) -> Terms:
    call = {"method": "GET", "url": "", "body": None}
    money = {"share": 12.5, "spent": 0.0, "per_hour": 0.6, "stopped_per_hour": 0.01, "per_byte_in": 0.0}
    used: dict[str, Any] = {"idle": None, "when_idle": "stop", "busy": [], "ports": [], "path": "/w", "backup": ""}
    known = {"nonce": "n", "key": "CONTAINER_API_KEY", "stop": call, "destroy": call, "per_byte_out": 0.0}
    known |= {**money, **used, "ends": 1e12, "hours": None}
    return {**known, **more}  # type: ignore[typeddict-item]


@dataclass
class Guarded:
    """A machine of the stand-in whose guard runs here."""

    folder: Path
    rental: Rental
    number: int
    shell: subprocess.Popen[bytes]

    def told(self, **more: Any) -> None:
        """Have it go by these terms; an hour of its clock costs what the provider takes meanwhile."""
        own, (machine,) = self.rental.vast.own(self.number), self.rental.known()["machines"]
        money = {"per_hour": machine["price"] * SPEED, "spent": machine["cost"], "share": 1e6}
        calls = {"stop": own.stop, "destroy": own.destroy, "path": str(self.folder / "project")}
        text = json.dumps(terms(**{**calls, **money, **more}))
        (self.folder / "terms.new").write_text(text)
        (self.folder / "terms.new").rename(self.folder / "terms.json")

    def watched(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "watched.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def uncounted(self) -> float:
        """What the provider has taken, by its own clock, until the guard looked last, and the guard has not counted."""
        watched, known = self.watched(), self.rental.known()
        (machine,), (speed, at, _) = known["machines"], known["clock"]
        hours = (at + (watched["at"] - at) * speed - machine["began"]) / 3600
        return float(hours * machine["price"] - watched["spent"])

    def holder(self, lock: str) -> int:
        """Whose it is, or 0."""
        inode = (self.folder / lock).stat().st_ino if (self.folder / lock).exists() else -1
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and int(fields[5].split(":")[2]) == inode:
                return int(fields[4])
        return 0

    @property
    def is_stopped(self) -> bool:
        return any(each["stopped"] for each in self.rental.known()["machines"])

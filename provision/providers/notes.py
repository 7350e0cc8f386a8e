"""What was learned about machines and images that were rented, so that nobody pays for it twice.

It is this user's alone, in `$XDG_STATE_HOME/bitnet-provision` (XDG Base Directory Specification; by default
`~/.local/state`), and can be deleted at any time: then a machine that failed may be rented once more.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provision import whole
from provision.caches import state

_KEPT = 30 * 86400.0  # seconds: a host is mended, or has another owner by then
_MOST = 1000  # of each kind; the oldest go


class Notes:
    """One user's. Where nothing can be written, nothing is remembered: no rental fails for that.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, folder: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = (folder or state()) / "rented.json"
        self._now = now

    def failed(self, provider: str) -> dict[int, str]:
        """The provider's machines that failed of late, and why."""
        prefix = f"{provider} "
        found = self._fresh(self._read(), "machines")
        numbers = {name.removeprefix(prefix): note for name, note in found.items() if name.startswith(prefix)}
        return {int(number): str(note.get("why", "")) for number, note in numbers.items() if number.isdigit()}

    def has_failed(self, provider: str, machine: int, why: str) -> None:
        """Remember it: it is not rented again for 30 days."""
        self._note("machines", f"{provider} {machine}", {"why": why})

    def forget(self, provider: str, machines: Sequence[int]) -> list[int]:
        """Which of them were remembered, and are no more; without any, all machines and images are forgotten."""
        found = sorted(number for number in self.failed(provider) if not machines or number in machines)
        gone = {f"{provider} {number}" for number in found}
        with self._changing() as notes:
            notes["machines"] = {
                name: note for name, note in self._fresh(notes, "machines").items() if name not in gone
            }
            notes["images"] = self._fresh(notes, "images") if machines else {}
        return found

    def lacking(self, image: str) -> tuple[str, ...]:
        """What an image with that very digest lacks, as a machine of it has shown."""
        note = self._fresh(self._read(), "images").get(image, {})
        return tuple(str(each) for each in note.get("lacks", ()))

    def lacks(self, image: str, tools: Sequence[str]) -> None:
        """Remember it. What has no digest may be another image tomorrow, so that is not noted."""
        if "@sha256:" in image:
            self._note("images", image, {"lacks": list(tools)})

    def rates(self, work: str) -> dict[str, float]:
        """Tokens a second that a GPU of a name has given with that work (a digest), for one who asks."""
        found = self._fresh(self._read(), "rates")
        notes = ((*name.partition(" "), note) for name, note in found.items())
        return {gpu: float(note.get("rate", 0)) for of, _, gpu, note in notes if of == work}

    def gave(self, work: str, gpu: str, rate: float) -> None:
        """Remember it."""
        self._note("rates", f"{work} {gpu}", {"rate": rate})

    def _fresh(self, notes: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
        """Those that are not too old; what somebody has written there by hand and makes no sense is none."""
        since, found = self._now() - _KEPT, notes.get(kind)
        return {
            name: note
            for name, note in (found.items() if isinstance(found, dict) else ())
            if isinstance(note, dict) and isinstance(at := note.get("at"), int | float) and at > since
        }

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, kind: str, name: str, note: Mapping[str, object]) -> None:
        with contextlib.suppress(OSError), self._changing() as notes:
            of_kind = self._fresh(notes, kind) | {name: {**note, "at": self._now()}}
            notes[kind] = dict(sorted(of_kind.items(), key=lambda each: each[1]["at"])[-_MOST:])

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """What is there, for whoever changes it; written once that is done."""
        with self._alone():
            notes = self._read()
            yield notes
            whole.write(self._file, json.dumps(notes, indent=1).encode())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole.alone(self._file.parent):
            yield

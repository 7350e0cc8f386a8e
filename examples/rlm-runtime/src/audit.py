"""python -m src.audit [FOLDER]: trajectory logs hold prompts and answers; do they hold secrets as well?

It looks for the values of this process's own secrets, and for what keys of well-known makers look like. Where one is
found, file, line and kind are told, never the value; the exit status is 1.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from src.store import folder

_SHORTEST = 8  # characters: less is found everywhere
_SECRET = re.compile(r"_(KEY|TOKEN|SECRET|PASSWORD)(_ID)?$")
_LOOKS = {
    "a key of OpenAI's or Anthropic's": r"\bsk-[\w-]{20,}",
    "an access key of AWS": r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    "a token of GitHub": r"\b(gh[pousr]_\w{36}|github_pat_\w{22,})",
    "a key of Google's": r"\bAIza[\w-]{35}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+",
}


def findings(place: Path) -> Iterator[str]:
    """A sentence for each line and kind."""
    own = {name: value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST}
    looks = {name: re.compile(look) for name, look in _LOOKS.items()}
    for file in sorted(place.glob("*.jsonl")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                yield from (f"{file}:{number}: the value of {name}" for name, value in own.items() if value in line)
                yield from (
                    f"{file}:{number}: what looks like {name}" for name, look in looks.items() if look.search(line)
                )


if __name__ == "__main__":
    found = list(findings(Path(sys.argv[1]) if sys.argv[1:] else folder()))
    print("\n".join(found) if found else "no secret found")
    sys.exit(bool(found))

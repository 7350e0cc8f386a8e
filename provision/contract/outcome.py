"""How what was asked for came out, where it did; in results and in the history."""

from __future__ import annotations

from typing import Final

COMMITTED: Final = "committed"
UNCHANGED: Final = "unchanged"
MISMATCH: Final = "mismatch"  # what was uploaded is not what was to be sealed; nothing was done

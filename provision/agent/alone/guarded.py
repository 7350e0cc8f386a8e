"""Says whether what lies at a path can be trusted, before a command runs there.

What is wrong is said in place of the command, on its output; the exit status is that of a refusal.
"""

from __future__ import annotations

from ..trust import fault


def main(path: str) -> int:
    wrong = fault(path)
    if not wrong:
        return 0
    print(f"what lies at {path} cannot be trusted: {wrong}. next: deploy host mend")  # noqa: T201
    return 4

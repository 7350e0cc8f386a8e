"""What only a person knows: asked once, whichever host needs it first, and kept for as long as the run lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from provision.errors import Refused, UsageError
from provision.hosts import HostConnection


class Questions:
    """Asks for passphrases and passwords, one at a time.

    Args:
        ask: shows a prompt to a person and waits for the answer; None where nobody is there.
    """

    def __init__(self, ask: Callable[[str], str] | None) -> None:
        self._ask = ask
        self._answers: dict[str, str] = {}
        self._lock = threading.Lock()

    def passphrase(self, identity: Path) -> str:
        """What opens a key file.

        Raises:
            UsageError: nobody is there.
        """
        failure = UsageError(f"{identity} needs a passphrase", next_step=f"ssh-add {identity}")
        return self._once(f"passphrase of {identity}: ", failure)

    def sudo_password(self, connection: HostConnection, host: str) -> str:
        """What sudo asks for on a host; empty where it asks for nothing.

        Raises:
            Refused: nobody is there.
        """
        if connection.run(["sudo", "-n", "true"], timeout=20).rc == 0:
            return ""
        failure = Refused(
            "sudo asks for a password, and nobody is there to type it.",
            host=host,
            next_step="run this in a terminal, or allow the login user NOPASSWD in sudoers",
        )
        return self._once(f"sudo password on {host}: ", failure)

    def _once(self, prompt: str, failure: Refused | UsageError) -> str:
        with self._lock:
            if prompt not in self._answers:
                if self._ask is None:
                    raise failure
                self._answers[prompt] = self._ask(prompt)
            return self._answers[prompt]

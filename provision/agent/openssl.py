"""OpenSSL's program, which makes keys, requests and certificates."""

from __future__ import annotations

import subprocess

from ..contract.failure import FAILED, REFUSED, Failure

CURVE = ("-pkeyopt", "ec_paramgen_curve:prime256v1")
_SECONDS = 60.0
_SAID = 400  # characters of what it says, its end


def run(what: str, *words: str) -> str:
    """What it prints.

    Args:
        what: takes it, in words.

    Raises:
        Failure: the host has none, or it fails.
    """
    try:
        done = subprocess.run(
            ["openssl", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        no = f"{what} takes the program openssl, and the host has none."
        raise Failure(REFUSED, no, next_step="install openssl there, then: deploy up") from None
    except subprocess.TimeoutExpired:
        raise Failure(FAILED, f"openssl {words[0]} took too long.", next_step="deploy up") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-_SAID:]
        raise Failure(FAILED, f"openssl {words[0]} failed.", said, "deploy doctor")
    return done.stdout.decode("ascii", "replace")

"""python -m rollout_server.fetch: get the declared tokenizers into HF_HOME, so that the server needs no hub.

What is there already is not asked for again. A hub that is busy or breaks off is asked again; one that says no is not.
"""

from __future__ import annotations

import os
import sys
import time

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from rollout_server import tokens
from rollout_server.tokens import Unavailable

_ATTEMPTS = 3  # of the library's own, which tries some things up to six times
_PAUSE = float(os.environ.get("FETCH_PAUSE", "2"))  # seconds, doubled each time


def fetch(name: str, commit: str) -> None:
    """Get one.

    Raises:
        Unavailable: the hub says no, or nothing for too long.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        try:
            snapshot_download(name, revision=commit or None, allow_patterns=tokens.files(trusted=tokens.TRUST))
            return
        except Exception as error:  # not the same ones in all versions of its HTTP library
            said = " ".join(str(error).split())[:200]
            if isinstance(error, HfHubHTTPError) and error.response.status_code in (400, 401, 403, 404):
                raise Unavailable(f"{name}@{commit}: {said}") from error
        print(f"{name}: {said}", file=sys.stderr, flush=True)
    raise Unavailable(f"{name}@{commit}: gave up after {_ATTEMPTS} attempts")


def main() -> int:
    try:
        for name, commit in tokens.declared().items():
            fetch(name, commit)
            tokens.load(name, commit, trusted=tokens.TRUST, fetch=False)
            print(f"{name} is at {commit[:12] or 'the newest that the hub has'}", flush=True)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

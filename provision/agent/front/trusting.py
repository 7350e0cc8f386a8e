"""The certificates that HAProxy believes, said while it runs: a reload would lose those who wait.

It keeps a file's content by the file's name, and each server's own with that.
"""

from __future__ import annotations

import hashlib
import ssl

from ...contract.failure import FAILED, Failure
from .master import Master
from .values import Backend

_SAID = 400


def trust(master: Master, worker: int, backend: Backend) -> None:
    """Let this worker believe what the servers' files say by now; a worker that has not read such a file is left alone.

    Raises:
        Failure: it takes none of it.
    """
    for server in backend.servers:
        if server.peer is None:
            continue
        path = server.peer.trusted
        (known,) = master.tell(worker, [f"show ssl ca-file {path}"])
        if "Status: Used" not in known or _mark(server.peer.certificates) in known:
            continue
        lines = "\n".join(line for line in server.peer.certificates.splitlines() if line)
        said = master.tell(worker, [f"set ssl ca-file {path} <<\n{lines}\n", f"commit ssl ca-file {path}"])
        if "Success" not in said[-1]:
            raise Failure(
                FAILED, f"HAProxy does not take the certificate of {server.program}.", " ".join(said)[-_SAID:]
            )


def _mark(certificate: str) -> str:
    return hashlib.sha1(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()  # noqa: S324  as HAProxy tells it

"""The llama.cpp that tests run: compiled once, for all of them.

Profile `min` is what the image `bitnet-cpu-min` holds: static, for any x86-64 with AVX2. So it also serves wherever a
test needs no more than a server that answers. The other profiles are for `make test-slow`.
"""

from __future__ import annotations

from pathlib import Path

from provision import native

PROFILE = "min"


def llama_server(root: Path) -> Path:
    """The server in `root`/build/bin, where a project has it; from the cache once `make binaries` ran."""
    return native.build(PROFILE, targets=["llama-server"], root=root).binaries["llama-server"]

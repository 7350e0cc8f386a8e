"""Where builds keep what they can use again, so that a fresh clone compiles nothing that was compiled before.

    sources/DIGEST/         an unpacked source, complete or absent
    trees/PROFILE-KEY/      a CMake build tree; ninja goes on where a killed build stopped
    toolkits/NAME-DIGEST/   the pinned CUDA toolkit, complete or absent
    finished/KEY/           stripped binaries and facts.json
    ccache/                 compiled objects, shared by all profiles
    clones/                 git checkouts that were cloned by name

KEY is the digest of everything that decides what the binaries do: source, flags, compilers, and for profile `native`
the CPU. The folder can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provision.caches import caches, demand_writable
from provision.events import OnEvent, message


@dataclass(frozen=True)
class Cache:
    """A cache folder and the names in it."""

    root: Path

    @classmethod
    def of_user(cls) -> Cache:
        """The user's own (`provision.caches`)."""
        return cls(caches())

    def source(self, digest: str) -> Path:
        return self.root / "sources" / digest

    def tree(self, profile: str, key: str) -> Path:
        return self.root / "trees" / f"{profile}-{key[:16]}"

    def finished(self, key: str) -> Path:
        return self.root / "finished" / key

    def toolkit(self, name: str) -> Path:
        return self.root / "toolkits" / name

    def clone(self, name: str) -> Path:
        return self.root / "clones" / name

    @property
    def ccache(self) -> Path:
        return self.root / "ccache"

    @contextmanager
    def lock(self, on_event: OnEvent) -> Iterator[int]:
        """Be the only build in this cache; waits for another one, saying whom for.

        Yields the lock's file descriptor: compilers inherit it, so that a build whose parent was killed keeps the
        tree to itself until its last compiler has ended.
        """
        demand_writable(self.root, "XDG_CACHE_HOME=/some/folder deploy …")
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "unknown"
                on_event(message("wait", f"waiting for another build in {self.root} (process {holder})"))
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

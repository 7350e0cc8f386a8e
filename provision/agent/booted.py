"""Which run of the host this is. Apart from `processes`, so that the keeper, who asks nothing else, stays small."""

from __future__ import annotations


def boot_id() -> str:
    """Differs from boot to boot; in a container that is restarted, from start to start (process 1's age)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    try:
        with open("/proc/1/stat", encoding="utf-8", errors="replace") as stream:
            began = int(stream.read().rpartition(")")[2].split()[19])  # clock ticks since boot (proc(5))
    except (OSError, IndexError, ValueError):
        began = 0
    return f"{boot}-{began}"

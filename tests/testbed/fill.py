"""Runs on a host: fill the file system of a folder with one file until so many bytes are free."""

import contextlib
import os
import sys

folder, leave_bytes = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/.testbed-ballast", "ab") as ballast:  # noqa: PTH123 (also run by old Pythons)
    size = ballast.tell()
    # Metadata of the ballast costs blocks too, so approach the goal in ever smaller steps.
    step = 1 << 30
    while step >= 4096:
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize - leave_bytes >= step:
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), size, step)
                size += step
                continue
        step //= 2

"""Why the test bed cannot do its work, and what the reader can do about it."""

import os
import shutil

# Program -> Debian package.
_PROGRAMS = {
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}


class TestBedProblem(Exception):
    """What went wrong and the next step, as one message."""

    __test__ = False

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(f"{problem}\n    next: {next_step}")


def missing_requirement() -> TestBedProblem | None:
    """What keeps hosts from being made on this machine, if anything does."""
    if os.geteuid() != 0:
        return TestBedProblem(
            "hosts are network namespaces with an overlay root, and making those needs root",
            "run pytest as root, or set DEPLOY_TESTS_UNPRIVILEGED=1 to leave these tests out",
        )
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        return TestBedProblem("programs of the test bed are missing", f"apt-get install {' '.join(missing)}")
    return None

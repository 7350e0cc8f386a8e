"""Where compilers run: on this machine, or in a container of pinned ones (`provision.images.build.compilers`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

OnLine = Callable[[str], None]


class Workbench(Protocol):
    """Runs programs. Paths below the cache's folder are given as they are here; each knows what it calls them."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What programs there are given, such as CC and CFLAGS."""

    @property
    def packages(self) -> Mapping[str, str]:
        """Versions that decide what is compiled, for build.json; empty where nobody pinned them."""

    def which(self, *names: str) -> str | None:
        """The first of `names` that is a program there."""

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a short program to its end."""

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, on_line: OnLine, lock: int
    ) -> int:
        """Run a program in `folder`, its output line by line to `on_line`; whatever ends us ends it first.

        Args:
            environment: on top of what the workbench has.
            lock: a file descriptor that the program holds open as long as it runs.
        """


class Here:
    """This machine."""

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ

    @property
    def packages(self) -> Mapping[str, str]:
        return {}

    def which(self, *names: str) -> str | None:
        # cmake and ninja from PyPI lie beside the interpreter, and a virtual environment need not be activated.
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
        return next((found for name in names if (found := shutil.which(name, path=path))), None)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, on_line: OnLine, lock: int
    ) -> int:
        with subprocess.Popen(
            arguments,
            env=os.environ | environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[lock],
        ) as process:
            try:
                for line in process.stdout or ():
                    on_line(line)
            except BaseException:
                process.terminate()
                raise
        return process.returncode

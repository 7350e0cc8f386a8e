"""cmake and ninja, run so that a person sees how far they are and, when they fail, why."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provision.errors import DeployError
from provision.events import OnEvent, message, progress
from provision.native.cache import Cache
from provision.native.cuda import Toolkit
from provision.native.toolchain import Toolchain

_STEP = re.compile(r"\[(\d+)/(\d+)\] ")
_ERROR = re.compile(
    r"(?:^|: |\s)(?:fatal )?error\b|undefined reference|^ninja: error|multiple definition", re.IGNORECASE
)
_ERROR_LINES = 6

# The compiler is killed, rather than failing by itself, when memory runs out (gcc: "Killed signal terminated
# program cc1plus").
_KILLED = re.compile(r"Killed signal|internal compiler error: Killed|^Killed$", re.MULTILINE)


@dataclass(frozen=True)
class Workshop:
    """A build tree, and the programs that work in it."""

    source: Path
    tree: Path
    tools: Toolchain
    cuda: Toolkit | None
    cache: Cache
    lock: int  # file descriptor of the cache's lock, see Cache.lock

    def configure(self, variables: dict[str, str], on_event: OnEvent) -> None:
        """Run cmake, unless it was run here with the very same arguments.

        Raises:
            DeployError: cmake's first error, and where its output is.
        """
        variables = variables | {
            "CMAKE_MAKE_PROGRAM": self.tools.ninja,
            "CMAKE_C_COMPILER": self.tools.c.path,
            "CMAKE_CXX_COMPILER": self.tools.cxx.path,
        }
        if self.cuda:
            variables |= {
                "CMAKE_CUDA_COMPILER": str(self.cuda.nvcc),
                "CMAKE_CUDA_HOST_COMPILER": self.tools.cxx.path,
                "CUDAToolkit_ROOT": str(self.cuda.root),
            }
        if self.tools.ccache:
            languages = ("C", "CXX", "CUDA") if self.cuda else ("C", "CXX")
            variables |= {f"CMAKE_{language}_COMPILER_LAUNCHER": self.tools.ccache for language in languages}
        arguments = [self.tools.cmake, "-S", str(self.source), "-B", str(self.tree), "-G", "Ninja"]
        arguments += [f"-D{name}={value}" for name, value in sorted(variables.items())]

        stamp = self.tree / "configured.json"
        if stamp.is_file() and json.loads(stamp.read_text()) == arguments:
            return
        on_event(message("configure", f"cmake in {self.tree}"))
        self.tree.mkdir(parents=True, exist_ok=True)
        log = self.tree / "configure.log"
        if self._run(arguments, log, lambda _line: None) != 0:
            lines = log.read_text(errors="replace").splitlines()
            at = next((number for number, line in enumerate(lines) if line.startswith("CMake Error")), 0)
            raise _failure("cmake could not configure the build", [line for line in lines[at:] if line.strip()], log)
        stamp.write_text(json.dumps(arguments))

    def compile(self, targets: list[str], jobs: int, on_event: OnEvent) -> None:
        """Run ninja; it does what is left to do.

        Raises:
            DeployError: the compiler's first errors, and where its output is.
        """
        on_event(message("compile", f"{' '.join(targets)} with {jobs} {'job' if jobs == 1 else 'jobs'}"))
        errors: list[str] = []

        def watch(line: str) -> None:
            if step := _STEP.match(line):
                on_event(progress("compile", int(step[1]), int(step[2]), unit="steps"))
            elif _ERROR.search(line):
                errors.append(line)

        log = self.tree / "compile.log"
        if self._run([self.tools.ninja, "-C", str(self.tree), "-j", str(jobs), *targets], log, watch) != 0:
            if _KILLED.search(log.read_text(errors="replace")):
                what = "the compiler was killed, most likely because memory ran out"
                raise _failure(what, errors, log, next_step=f"deploy native build --jobs {max(1, jobs // 2)}")
            raise _failure("compiling failed", errors, log)

    def _run(self, arguments: list[str], log: Path, on_line: Callable[[str], None]) -> int:
        """Run a program, its output into `log` and line by line to `on_line`."""
        environment = {
            "NINJA_STATUS": "[%f/%t] ",
            "LC_ALL": "C.UTF-8",  # error lines are recognised by their English words
            "GIT_DIR": os.devnull,  # the source is no repository, and none above the cache is meant
            # Objects are found again whatever the tree is called and wherever the cache lies.
            "CCACHE_DIR": str(self.cache.ccache),
            "CCACHE_BASEDIR": str(self.cache.root),
            "CCACHE_NOHASHDIR": "1",
        }
        with log.open("w") as copy:

            def keep(line: str) -> None:
                copy.write(line)
                on_line(line.rstrip("\n"))

            return self.tools.workbench.run(arguments, environment, self.tree, keep, self.lock)


def _failure(what: str, lines: list[str], log: Path, *, next_step: str = "") -> DeployError:
    shown = lines[:_ERROR_LINES]
    return DeployError(what, why="\n".join(shown), next_step=next_step or f"the whole output is in {log}")

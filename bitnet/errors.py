"""What can go wrong on a host, as facts.

An exception says what failed, why, and what to do next; `str()` gives those three lines. Every class survives
pickling, because Ray carries errors between processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class RuntimeFailure(Exception):
    """A failure that a person has to read.

    Args:
        what: one sentence of what failed.
        why: one sentence of why, or empty.
        next_step: one command or sentence of what to do now, or empty.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [self.what, *([self.why] if self.why else []), *([f"next: {self.next_step}"] if self.next_step else [])]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args` alone, which keyword-only facts do not survive.
        return _revive, (type(self), self.args, self.__dict__.copy())


def _revive(kind: type[RuntimeFailure], args: tuple[object, ...], facts: dict[str, object]) -> RuntimeFailure:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class InvalidInput(RuntimeFailure, ValueError):
    """A value that was given cannot be used."""


class BinaryNotFound(RuntimeFailure, FileNotFoundError):
    """No usable llama.cpp or bitnet.cpp binary: missing, or not executable."""


class ModelUnusable(InvalidInput):
    """The model is missing, is no GGUF file, is truncated, or has tensor types that the binary cannot read."""


class NotEnoughMemory(RuntimeFailure):
    """The model and its context do not fit into the memory that this process may use."""


class PortTaken(RuntimeFailure):
    """Another program listens on the port."""


class LaunchFailed(RuntimeFailure):
    """The program could not be started, or ended with a status that is not 0.

    Attributes:
        command: the argument list.
        returncode: its exit status, negative for a signal, None if it never started.
        stdout, stderr: the output, as far as it was kept.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        next_step: str = "",
        command: Sequence[str] = (),
        returncode: int | None = None,
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.command = tuple(command)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class RuntimeTimeoutError(RuntimeFailure, TimeoutError):
    """The program outlived its deadline and was ended, with every process of its group.

    Attributes:
        timeout: the deadline in seconds.
        command: the argument list.
        stdout, stderr: the output until then, as far as it was kept.
    """

    def __init__(self, *, timeout: float, command: Sequence[str] = (), stdout: str = "", stderr: str = "") -> None:
        program = command[0] if command else "the program"
        super().__init__(
            f"{program} did not finish in {timeout:g} s and was ended",
            why="it was still running at its deadline",
            next_step="raise timeout=, or look at .stdout and .stderr for where it stopped",
        )
        self.timeout = timeout
        self.command = tuple(command)
        self.stdout = stdout
        self.stderr = stderr


class CircuitOpen(RuntimeFailure):
    """A backend failed so often that it is left alone for a while.

    Attributes:
        backend: its name.
        retry_after: seconds until one attempt is let through.
    """

    def __init__(self, backend: str, *, retry_after: float) -> None:
        super().__init__(
            f"{backend}: not tried, its circuit breaker is open",
            why="its last launches failed one after the other",
            next_step=f"wait {retry_after:.1f} s, or give a fallback",
        )
        self.backend = backend
        self.retry_after = retry_after


class QueueFull(RuntimeFailure):
    """The bounded queue has no room for another job.

    Attributes:
        limit: how many jobs may wait.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} jobs wait already, and no more may",
            why="jobs arrive faster than they finish",
            next_step="submit later, raise max_queue=, or raise concurrency=",
        )
        self.limit = limit


class ResourcesImpossible(InvalidInput):
    """A job asks for more of a resource than the whole pool holds, so it could never start.

    Attributes:
        asked: what it asks for.
        pool: what there is.
    """

    def __init__(self, asked: Mapping[str, float], pool: Mapping[str, float]) -> None:
        beyond = ", ".join(
            f"{name} {amount:g} of {pool.get(name, 0):g}"
            for name, amount in sorted(asked.items())
            if amount > pool.get(name, 0)
        )
        super().__init__(
            f"the job could never start: it asks for {beyond}",
            why="the pool in resource_limits= is smaller than that",
            next_step="ask for less, or raise resource_limits=",
        )
        self.asked = dict(asked)
        self.pool = dict(pool)


class SupervisorClosed(RuntimeFailure):
    """The supervisor takes no more jobs, or ended this one because it shut down."""


class CommandRefused(RuntimeFailure, PermissionError):
    """A driver's allow-list does not hold the command.

    Attributes:
        command: the argument list.
    """

    def __init__(self, command: Sequence[str], allowed: Sequence[str]) -> None:
        super().__init__(
            f"{command[0] if command else 'an empty command'}: not on the allow-list",
            why=f"allowed are: {', '.join(allowed) or 'none'}",
            next_step="add it to allowed_commands= on the driver, if callers may run it",
        )
        self.command = tuple(command)


class UnsafeListener(InvalidInput):
    """A driver would listen beyond loopback without TLS or without a token."""


class DriverFailure(RuntimeFailure):
    """A driver's transport failed: not started, unreachable, or a worker that died."""


class MissingExtra(RuntimeFailure, ImportError):
    """An optional package is not installed.

    Attributes:
        extra: the extra of this project that brings it.
    """

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"{package} is not installed",
            why=f"it belongs to the optional extra {extra!r}",
            next_step=f"pip install 'bitnet-provision[{extra}]'",
        )
        self.extra = extra

"""`deploy`: arguments in, an exit code out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from provision.errors import Exit, UsageError

_AGAIN_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Whatever goes wrong has been told as sentences by then."""
    sys.unraisablehook = _unraisable
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except BrokenPipeError:  # whoever read the output has gone, and wants to hear nothing
        return Exit.FAILED
    except (Exception, KeyboardInterrupt) as error:
        from provision.cli.failures import tell

        return tell(error, as_json="--json" in words)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that came in a finalizer, also one of the import system's, is forgotten there: it comes once more."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    from threading import Timer

    before = signal.getsignal(signal.SIGINT)

    def once(_number: int, _frame: object) -> None:  # pressed once, it counts once
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, once)
    again = Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _run(words: list[str]) -> int:
    try:
        from provision.cli.commands import deploy
    except ModuleNotFoundError as error:
        from provision.installed import installed

        raise UsageError(
            f"{error.name} is not installed: this is the on-host runtime alone.",
            next_step=installed().add_toolkit(),
        ) from None
    code = deploy.main(words, prog_name="deploy", standalone_mode=False)
    return code if isinstance(code, int) else 0

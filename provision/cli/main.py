"""`deploy`: arguments in, an exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from provision.errors import Exit, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Whatever goes wrong has been told as sentences by then."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except BrokenPipeError:  # whoever read the output has gone, and wants to hear nothing
        return Exit.FAILED
    except (Exception, KeyboardInterrupt) as error:
        from provision.cli.failures import tell

        return tell(error, as_json="--json" in words)


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

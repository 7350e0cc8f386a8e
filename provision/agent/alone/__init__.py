"""Programs that run where the agent is not, or not yet: to begin with it, or to ask it for something.

Each is a module like any other, and reaches a host as its text, with those that it needs around it (`program`). So
they import nothing but Python's own modules and each other, and do nothing when they are imported.
"""

from __future__ import annotations

import os
import re

_AGENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EACH_OTHER = re.compile(r"^from \.\S* import .*\n", re.MULTILINE)
_FUTURE = re.compile(r"^from __future__ import .*\n", re.MULTILINE)  # Python takes it at the top alone


def program(*modules: str, call: str = "") -> str:
    """The text of `modules` as one program, which ends with `call`; the first gives it its docstring.

    Args:
        modules: as they are called below the agent's folder: `trust`, `alone/boot`.
    """
    first, *others = (_EACH_OTHER.sub("", _text(module)) for module in modules)
    return "\n".join([first, *(_FUTURE.sub("", other) for other in others), *([call + "\n"] if call else [])])


def _text(module: str) -> str:
    with open(os.path.join(_AGENT, module + ".py"), encoding="utf-8") as stream:
        return stream.read()

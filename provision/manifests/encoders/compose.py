"""Values as Compose reads them: YAML first, then `$`.

Compose specification, "Interpolation": `$NAME` and `${NAME…}` are replaced in every value, and `$$` is one `$`. In keys
nothing is.
"""

from __future__ import annotations

from provision.manifests.encoders import yaml
from provision.manifests.value import LONGEST_STRING, Value, Variable


def compose_text(value: Value) -> str:
    """A text that is exactly `value`, such as a name or a path; in quotes where it needs them.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    return yaml.scalar(_dollars_doubled(yaml.checked(value)))


def compose_number(value: Value) -> str:
    """A number.

    Raises:
        UnencodableValue: it is none.
    """
    return yaml.number(value)


def compose_arg(value: Value) -> str:
    """One word of a command that is exactly `value`; always in quotes, so that all look alike.

    Raises:
        UnencodableValue: no argument can hold it.
    """
    return yaml.quoted(_dollars_doubled(yaml.checked(value)))


def compose_env(variable: Variable) -> str:
    """One entry of `environment` that gives the container exactly this variable.

    Raises:
        UnencodableValue: no environment can hold it.
    """
    text = yaml.checked(variable.value, LONGEST_STRING - len(variable.name) - 1)
    return yaml.entry(variable, _dollars_doubled(text))


def _dollars_doubled(text: str) -> str:
    return text.replace("$", "$$")

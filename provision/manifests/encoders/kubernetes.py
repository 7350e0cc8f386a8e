"""Values as Kubernetes reads them: YAML first, then `$(VAR)` in commands.

Kubernetes API, Container.command and .args: `$(VAR_NAME)` is replaced by the container's environment, and `$$` is one
`$`. So a command doubles each `$`. What a ConfigMap holds is not looked at again. In `env` it is
the same (EnvVar.value): a value may name variables that stand before it, and what those hold is not looked at again.

YAML could write every character, but kustomize (5.5 to 5.8, tried) reads a file and writes it anew, some of them
without their escapes: U+0085 comes back as a blank, and at the others its own reader stops.
"""

from __future__ import annotations

import re
from dataclasses import replace

from provision.errors import UnencodableValue
from provision.manifests.encoders import yaml
from provision.manifests.value import LONGEST_STRING, FromSecret, Value, Variable

_LOST_IN_KUSTOMIZE = re.compile("[\x7f-\x9f\ufffe\uffff]")


def k8s_text(value: Value) -> str:
    """A text that is exactly `value`, such as a name or a path; in quotes where it needs them.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    return yaml.scalar(_checked(value))


def k8s_number(value: Value) -> str:
    """A number.

    Raises:
        UnencodableValue: it is none.
    """
    return yaml.number(value)


def k8s_arg(value: Value) -> str:
    """One word of `command`, `args` or a probe's command that is exactly `value`.

    Raises:
        UnencodableValue: no argument can hold it.
    """
    return yaml.quoted(_checked(value).replace("$", "$$"))


def k8s_env(variable: Variable) -> str:
    """One entry of a ConfigMap's `data` that gives the container exactly this variable.

    Raises:
        UnencodableValue: no environment can hold it.
    """
    return yaml.entry(variable, _checked(variable.value, LONGEST_STRING - len(variable.name) - 1))


def k8s_composed(variable: Variable) -> str:
    """The `value` of an entry of `env`, for a variable made of secrets that stand before it.

    Raises:
        UnencodableValue: no environment can hold it.
    """
    known = replace(
        variable.value, parts=tuple(part for part in variable.value.parts if not isinstance(part, FromSecret))
    )
    _checked(known, LONGEST_STRING - len(variable.name) - 1)
    parts = (
        f"$({part.name})" if isinstance(part, FromSecret) else str(part).replace("$", "$$")
        for part in variable.value.parts
    )
    return yaml.quoted("".join(parts))


def _checked(value: Value, longest: int = LONGEST_STRING) -> str:
    text = yaml.checked(value, longest)
    found = _LOST_IN_KUSTOMIZE.search(text)
    if found:
        raise UnencodableValue(value.subject, f"kustomize cannot carry U+{ord(found[0]):04X}; encode it, say in base64")
    return text

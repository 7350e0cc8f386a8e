"""Values as CloudFormation reads a template: YAML first, then tags and dynamic references.

CloudFormation user guide, "Intrinsic function reference": a tag such as `!Ref` stands before a value, never in one.
"Get values stored in other services by using dynamic references": `{{resolve:…}}` is replaced wherever it stands in a
text, and nothing escapes it.
"""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.encoders import yaml
from provision.manifests.value import Value, Variable

_RESOURCE = re.compile(r"[A-Za-z0-9]{1,255}")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9]{1,255}\.[A-Za-z0-9.]+")
# Secrets Manager, "CreateSecret": what a name may hold, but for the sign that ends it here.
_SECRET = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")


def sam_text(value: Value) -> str:
    """A text that is exactly `value`; in quotes where it needs them.

    Raises:
        UnencodableValue: it is no text, or holds a dynamic reference.
    """
    return yaml.scalar(_literal(value))


def sam_number(value: Value) -> str:
    """A number.

    Raises:
        UnencodableValue: it is none.
    """
    return yaml.number(value)


def sam_env(variable: Variable) -> str:
    """One entry of `Variables` that gives the function exactly this variable.

    Raises:
        UnencodableValue: no environment can hold it, or it holds a dynamic reference.
    """
    return yaml.entry(variable, _literal(variable.value))


def sam_ref(value: Value) -> str:
    """`!Ref` to the parameter or resource of that name.

    Raises:
        UnencodableValue: it is no such name.
    """
    return f"!Ref {_matching(value, _RESOURCE, 'the name of a resource')}"


def sam_attribute(value: Value) -> str:
    """`!GetAtt` of `resource.attribute`.

    Raises:
        UnencodableValue: it is no such name.
    """
    return f"!GetAtt {_matching(value, _ATTRIBUTE, 'an attribute of a resource')}"


def sam_secret(value: Value) -> str:
    """The secret of that name in Secrets Manager, by reference.

    Raises:
        UnencodableValue: it is no such name.
    """
    name = _matching(value, _SECRET, "the name of a secret")
    return yaml.quoted("{{resolve:secretsmanager:" + name + "}}")


def _literal(value: Value) -> str:
    text = yaml.checked(value)
    if "{{resolve:" in text:
        raise UnencodableValue(value.subject, '"{{resolve:" is replaced by CloudFormation, and nothing escapes it')
    return text


def _matching(value: Value, pattern: re.Pattern[str], expected: str) -> str:
    if not pattern.fullmatch(value.text):
        raise UnencodableValue(value.subject, f"{value.text!r} is not {expected}")
    return value.text

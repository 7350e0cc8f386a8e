"""Values as Prometheus (YAML) and Grafana (JSON) read them.

RFC 8259, 7 "Strings", and YAML 1.2.2, 7.3.1. Prometheus takes what stands in `{{ }}` of an annotation for a template
(alerting rules, "Templating"); that is left to whoever writes it.
"""

from __future__ import annotations

import json
import re

from provision.manifests.encoders import yaml
from provision.manifests.value import Value

_QUERY = re.compile(r'(?=.*")[ -~]+')


def yaml_text(value: Value) -> str:
    """A text that is exactly `value`; in quotes where it needs them.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    text = yaml.checked(value)
    # A query is full of double quotes; 7.3.2 "Single-Quoted Style" leaves them as they are.
    return "'" + text.replace("'", "''") + "'" if _QUERY.fullmatch(text) else yaml.scalar(text)


def json_text(value: Value) -> str:
    """A text that is exactly `value`.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    return json.dumps(yaml.checked(value), ensure_ascii=False)

"""Values as Prometheus (YAML) and Grafana (JSON) read them.

RFC 8259, 7 "Strings", and YAML 1.2.2, 7.3.1. Prometheus takes what stands in `{{ }}` of an annotation for a template
(alerting rules, "Templating"); that is left to whoever writes it.
"""

from __future__ import annotations

import json

from provision.manifests.encoders import yaml
from provision.manifests.value import Value


def yaml_text(value: Value) -> str:
    """A text that is exactly `value`; in quotes where it needs them.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    return yaml.scalar(yaml.checked(value))


def json_text(value: Value) -> str:
    """A text that is exactly `value`.

    Raises:
        UnencodableValue: it is no text, or holds NUL.
    """
    return json.dumps(yaml.checked(value), ensure_ascii=False)

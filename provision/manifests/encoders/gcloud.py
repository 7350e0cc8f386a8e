"""Values as gcloud reads a file of variables: `--env-vars-file`, a mapping in YAML."""

from __future__ import annotations

from provision.manifests.encoders import yaml
from provision.manifests.value import LONGEST_STRING, Variable


def gcloud_env(variable: Variable) -> str:
    """One entry that gives the function exactly this variable.

    Raises:
        UnencodableValue: no environment can hold it.
    """
    return yaml.entry(variable, yaml.checked(variable.value, LONGEST_STRING - len(variable.name) - 1))

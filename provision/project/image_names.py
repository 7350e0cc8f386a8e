"""The grammar of image names, `[REGISTRY/]REPOSITORY[:TAG][@sha256:HEX]`, as regular expressions of every dialect.

It is that of the distribution project's `reference` package: the part before the first `/` is a registry if it holds
`.` or `:` or is `localhost`.
"""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"  # of a host's name
_PORT = r":[0-9]{1,5}"

REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
REGISTRY = rf"(?:(?:{_LABEL}(?:\.{_LABEL})+|localhost|\[[0-9a-fA-F:]+\])(?:{_PORT})?|{_LABEL}{_PORT})"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"
IMAGE = rf"^(?:{REGISTRY}/)?{REPOSITORY}(?::{TAG})?(?:@{DIGEST})?$"

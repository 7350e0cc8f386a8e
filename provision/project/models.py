"""Models by where they are: `[models.NAME]`, which a service's `model` names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from provision.project.section import Section
from provision.project.values import Image, String, Variable

HUB = "hf://"
_HUB = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@:]+\.gguf)|:(?P<quantization>[\w.-]+))(?:@(?P<revision>[\w./-]+))?"
)
_FORMS = '"hf://ORG/REPOSITORY/FILE.gguf@REVISION", "hf://ORG/REPOSITORY:Q4_K_M" or "https://HOST/FILE.gguf".'


def _source(text: str) -> str:
    if text.startswith(HUB):
        if not _HUB.fullmatch(text):
            raise ValueError(f"expected {_FORMS}")
        return text
    return address(text)


def address(text: str) -> str:
    """That of a model's file, as it is.

    Raises:
        ValueError: it is none, or holds a login.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"it is no address; expected {_FORMS}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"expected {_FORMS} A file of yours: services.NAME.model names it.")
    if parts.username or parts.password:
        raise ValueError("an address is shown and kept; a login in it would be, too. Name a secret: token.")
    if not PurePosixPath(parts.path).name.endswith(".gguf"):
        raise ValueError("expected the address of a file whose name ends in .gguf.")
    return text


class Model(Section):
    """A model that hosts fetch from where it is, once each."""

    source: Annotated[String, AfterValidator(_source)]
    """Where it is: a file or a quantization at the Hugging Face Hub, or an address."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Its digest; of an address it has to be said, of the Hub it is what the Hub says."""
    token: Variable | None = None
    """The variable with the token of a gated repository, from .env; each host is given it to fetch, and keeps none."""
    fetcher: Image | None = None
    """Compose, Kubernetes: the image whose sh, curl and sha256sum fetch it, by digest (default: the service's own)."""


class AtTheHub:
    """What a source at the Hub names."""

    def __init__(self, source: str) -> None:
        match = _HUB.fullmatch(source)
        if match is None:
            raise ValueError(source)
        self.repository = match["repository"]
        self.file: str | None = match["file"]
        self.quantization: str | None = match["quantization"]
        self.revision = match["revision"] or "main"


def place(name: str) -> str:
    """Where a release has the model that is declared by that name, or its first part."""
    return f"models/{name}.gguf"

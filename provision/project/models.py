"""Models by where they are: `[models.NAME]`, which a service's `model` names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from provision.project.section import Section
from provision.project.values import BitRate, Flag, Image, String, Variable

HUB = "hf://"
STORE = "s3://"
REGISTRY = "oci://"
_HUB = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@:]+\.gguf)|:(?P<quantization>[\w.-]+))?"
    r"(?:@(?P<revision>[\w-][\w.-]*(?:/[\w-][\w.-]*)*))?"
)
_REGISTRY = re.compile(r"oci://[^/@\s]+/[^@\s]+(@sha256:[0-9a-f]{64})?")
_FORMS = (
    '"hf://ORG/REPOSITORY/FILE.gguf@REVISION", "hf://ORG/REPOSITORY:Q4_K_M", "https://HOST/FILE.gguf", '
    '"s3://BUCKET/FILE.gguf", "oci://REGISTRY/REPOSITORY:TAG", or of a whole repository "hf://ORG/REPOSITORY".'
)
BEHIND_HUB = "/models--"  # how the folder of a repository is called in the Hub's cache; what is before it is that
# What a server of safetensors reads: weights, what they are made of, and the tokenizer. Not the same weights twice, and
# no program: code of a repository (*.py) runs where somebody asks for it.
ALLOWED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth")  # who loads one runs what is in it


def _source(text: str) -> str:
    if text.startswith(HUB):
        if not _HUB.fullmatch(text):
            raise ValueError(f"expected {_FORMS}")
        return text
    if text.startswith(REGISTRY):
        if not _REGISTRY.fullmatch(text):
            raise ValueError(f"expected {_FORMS}")
        return text
    return address(text)


def address(text: str, ending: str = ".gguf") -> str:
    """That of a model's file, as it is.

    Raises:
        ValueError: it is none, or holds a login.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"it is no address; expected {_FORMS}") from None
    if parts.scheme not in ("https", "http", "s3") or not parts.hostname:
        raise ValueError(f"expected {_FORMS} A file of yours: services.NAME.model names it.")
    if parts.username or parts.password:
        raise ValueError("an address is shown and kept; a login in it would be, too. Name a secret: token.")
    if not PurePosixPath(parts.path).name.endswith(ending):
        raise ValueError("expected the address of a file whose name ends in .gguf.")
    return text


def locked_address(text: str) -> str:
    """That of a file as a lock has it: in a registry by its digest.

    Raises:
        ValueError: as `address`.
    """
    if text.startswith(REGISTRY):
        if "@sha256:" not in text or not _REGISTRY.fullmatch(text):
            raise ValueError("it names no blob of a registry")
        return text
    return address(text)


class Model(Section):
    """A model that hosts fetch from where it is, once each."""

    source: Annotated[String, AfterValidator(_source)]
    """Where it is: at the Hugging Face Hub (a file, a quantization, or a whole repository of safetensors), in an S3
    store, in a registry, or an address."""
    allow: tuple[String, ...] = ()
    """Of a whole repository: patterns of the files that are taken (default: safetensors, and what text files say)."""
    ignore: tuple[String, ...] = ()
    """Of a whole repository: patterns of files that are not, such as "consolidated*"."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Its digest; of an address it has to be said, and of a store; the Hub and registries say it."""
    token: Variable | None = None
    """The variable with the token of a gated repository, from .env; each host is given it to fetch, and keeps none."""
    fetcher: Image | None = None
    """Compose, Kubernetes: the image whose sh, curl and sha256sum fetch it, by digest (default: the service's own)."""
    fetch: Literal["host", "ship"] = "host"
    """ship: for hosts that don't reach the source; this machine fetches it once, and ships it to each of them."""
    spare: Flag = False
    """No service need have it: it is there to be tried (`deploy bench --try model=…`)."""
    limit: BitRate | None = Field(default=None, ge=1_000_000)
    """How much of its line each host takes for it at most, such as "400Mbit/s"."""

    @property
    def says_digest(self) -> bool:
        """Whether its source says which content is meant."""
        return self.source.startswith((HUB, REGISTRY))

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a whole repository of safetensors, laid out as the Hub's cache, and not GGUF files."""
        if not self.source.startswith(HUB):
            return False
        at = AtTheHub(self.source)
        return at.file is None and at.quantization is None


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


def place(name: str, model: Model) -> str:
    """Where a release has the model that is declared by that name, or its first part; of a snapshot a folder."""
    return f"models/{name}" if model.is_snapshot else f"models/{name}.gguf"


def name_of(place: str) -> str:
    """The name that the model is declared by which a release has there."""
    return PurePosixPath(place).stem


def in_cache(place: str, source: str, commit: str) -> str:
    """The folder of a snapshot's files in a release (huggingface_hub, "Understand caching").

    Args:
        commit: the one that is locked; what stands for it where none is.
    """
    return f"{_repository(place, source)}/snapshots/{commit}"


def references(place: str, source: str) -> tuple[str, ...]:
    """The files which say what commit a name stands for: the one that was asked for, and the one everybody asks for."""
    at = AtTheHub(source)
    names = dict.fromkeys(["main", *([] if re.fullmatch("[0-9a-f]{40}", at.revision) else [at.revision])])
    return tuple(f"{_repository(place, source)}/refs/{name}" for name in names)


def _repository(place: str, source: str) -> str:
    return f"{place}/hub{BEHIND_HUB}{AtTheHub(source).repository.replace('/', '--')}"

"""The Hugging Face Hub: which files a repository has at a commit, asked with its own library."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit

from provision.errors import DeployError, UsageError
from provision.project.fault import did_you_mean
from provision.project.models import AtTheHub
from provision.release.models import split

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

_SECONDS = 30.0


class HubFiles(NamedTuple):
    """The commit, and of each file its address at that commit and its sha256."""

    revision: str
    files: tuple[tuple[str, str], ...]


class Place(NamedTuple):
    """Where the Hub has one file."""

    endpoint: str
    repository: str
    revision: str
    file: str

    @classmethod
    def of(cls, url: str) -> Place | None:
        """What an address that `files` gave names; None where it is no such."""
        match = re.fullmatch(r"(https?://[^/]+(?:/.+)?)/([\w.-]+/[\w.-]+)/resolve/([0-9a-f]{40})/(.+)", url)
        return cls(match[1], match[2], match[3], unquote(match[4])) if match else None


def kept(place: Place, token: str) -> Path:
    """A file in the Hub's own cache on this machine, brought there where it is missing.

    Raises:
        DeployError: it can't be had.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the terminal is ours
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    failures = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, LocalEntryNotFoundError, ValueError))
    try:
        return Path(
            hf_hub_download(
                place.repository,
                place.file,
                revision=place.revision,
                endpoint=place.endpoint,
                token=token or False,
            )
        )
    except failures as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeployError(f"{place.repository}/{place.file} can't be fetched here.", why=why) from None


def files(name: str, source: str, token: str) -> HubFiles:
    """The files of the model that `source` names, those of a split one in order.

    Raises:
        UsageError: there is no such repository, revision or file, or nobody may read it.
        DeployError: the Hub can't be asked.
    """
    at = AtTheHub(source)
    info, endpoint = repository(name, at, token)
    digests = {each.rfilename: each.lfs.sha256 for each in siblings(info) if each.lfs}
    chosen = _chosen(name, at, [file for file in digests if file.endswith(".gguf")])
    revision = info.sha or ""
    if not re.fullmatch("[0-9a-f]{40}", revision) or not all(
        re.fullmatch("[0-9a-f]{64}", digests[file] or "") for file in chosen
    ):
        raise DeployError(
            f"models.{name}: {endpoint} does not say which content it has.",
            why="A commit is 40 hexadecimal digits, and a file's sha256 64.",
            next_step="look at HF_ENDPOINT, if that names a mirror",
        )
    address = f"{endpoint}/{at.repository}/resolve/{revision}"
    return HubFiles(revision, tuple((f"{address}/{quote(file)}", digests[file]) for file in chosen))


def others(name: str, source: str, token: str) -> dict[str, int]:
    """The other models of the repository, whole or by their first parts, with their bytes. Raises as `files`."""
    at = AtTheHub(source)
    info, _ = repository(name, at, token)
    sizes = {each.rfilename: each.size for each in siblings(info) if each.rfilename.endswith(".gguf")}
    found: dict[str, int] = {}
    for file, size in ((file, size) for file, size in sizes.items() if isinstance(size, int) and size > 0):
        whole = str(split(PurePosixPath(file))[0])
        if not PurePosixPath(file).name.startswith("mmproj"):
            found[whole] = found.get(whole, 0) + size
    return found


def siblings(info: ModelInfo) -> list[RepoSibling]:
    """The files of a repository; names that lead out of it, or out of a terminal's line, are those of none."""
    return [
        each
        for each in info.siblings or ()
        if each.rfilename.isprintable() and not {"", ".", ".."} & set(each.rfilename.split("/"))
    ]


def repository(name: str, at: AtTheHub, token: str) -> tuple[ModelInfo, str]:
    """What the Hub says of a repository at the revision, and where the Hub is. Raises as `files`."""
    # The library takes a second to import, and reports who asks.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # Of the HTTP client that this version has, which fails without an answer, too.
    failures = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token or False)
    if "@" in urlsplit(hub.endpoint).netloc:
        raise UsageError("HF_ENDPOINT holds a login.", why="Addresses of models are kept in models.lock, and shown.")
    try:
        return hub.model_info(at.repository, revision=at.revision, files_metadata=True, timeout=_SECONDS), hub.endpoint
    except HFValidationError:
        raise UsageError(
            f"models.{name}: no repository at the Hub is called {at.repository}.",
            why="Names there have letters, digits, - _ and single dots, and begin and end with neither - nor a dot.",
        ) from None
    except GatedRepoError:
        raise UsageError(
            f"models.{name}: {at.repository} is gated.",
            why="Its owner says who may read it.",
            next_step=f"ask there for access, then name the variable with your token: models.{name}.token",
        ) from None
    except RevisionNotFoundError:
        raise UsageError(f"models.{name}: {at.repository} has no revision {at.revision}.") from None
    except RepositoryNotFoundError:
        raise UsageError(
            f"models.{name}: the Hub shows no repository {at.repository}.",
            why="There is none, or it is private and the token may not read it.",
        ) from None
    except failures as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeployError(f"models.{name}: the Hub can't be asked.", why=why) from None


def _chosen(name: str, at: AtTheHub, there: list[str]) -> list[str]:
    if at.file is not None:
        if at.file not in there:
            why = did_you_mean(at.file, there) or _list(there)
            raise UsageError(f"models.{name}: {at.repository} has no file {at.file}.", why=why)
        return _parts(at.file, there)
    quantization = re.escape(at.quantization or "")
    found = [
        file
        for file in there
        if re.search(rf"(^|[-._]){quantization}([-.]|$)", PurePosixPath(file).stem, re.IGNORECASE)
        and not PurePosixPath(file).name.startswith("mmproj")
    ]
    wholes = {split(PurePosixPath(file))[0] for file in found}
    if len(wholes) != 1:
        what = "no file of" if not wholes else "more than one model of"
        raise UsageError(
            f"models.{name}: {at.repository} has {what} quantization {at.quantization}.",
            why=_list(found or there),
            next_step=f'name the file: source = "hf://{at.repository}/FILE.gguf"',
        )
    return sorted(found)


def _parts(file: str, there: list[str]) -> list[str]:
    """All parts of a split model, of which `file` is one; else the file."""
    parts = [str(part) for part in split(PurePosixPath(file))]
    if missing := [part for part in parts if part not in there]:
        raise UsageError(f"{missing[0]}, a part of the model, is not in the repository.")
    return parts


def _list(files: list[str]) -> str:
    more = f" and {len(files) - 12} more" if len(files) > 12 else ""
    return f"It has: {', '.join(files[:12])}{more}." if files else "It has no GGUF files."

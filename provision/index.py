"""One pinned file from the package index that pip is configured for.

`pip download` runs a source distribution's build backend to learn its metadata, which here means resolving and
running a build system only to get a file. So the index is read with `unearth`, with pip's own settings: indexes,
`find-links`, certificates, proxy, trusted hosts, credentials in URLs, netrc and keyring. So mirrors
work as they do for pip.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import re
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tenacity

from provision.caches import caches, demand_caches
from provision.errors import DeployError, UsageError
from provision.events import OnEvent, message, progress

if TYPE_CHECKING:
    from unearth import Link
    from unearth.fetchers.sync import PyPIClient

_Result = TypeVar("_Result")

# Reported bytes are rounded to this, so that a fast network does not drown a slow terminal in events.
_REPORT_EVERY = 2**20
_fetching = threading.Lock()


@dataclass(frozen=True)
class PinnedFile:
    """A file of one release, and the only content it may have."""

    package: str
    version: str
    file: str
    sha256: str
    bytes: int | None = None  # where known, no more than that is read


def kept(pin: PinnedFile, on_event: OnEvent) -> Path:
    """The pinned file on this machine: from the cache, else downloaded into it.

    Raises:
        DeployError: it could not be had, or not be kept.
    """
    with _fetching:  # many hosts ask at once
        path = caches() / "wheels" / pin.file
        if not (path.is_file() and _sha256(path) == pin.sha256):
            demand_caches()
            download(pin, path.parent, on_event)
        return path


def download(pin: PinnedFile, folder: Path, on_event: OnEvent) -> Path:
    """Put the pinned file into `folder`, from the first configured place that has it with the right content.

    Raises:
        DeployError: no place has it, or what a place has is something else; says what each place answered.
    """
    # Imported here: a build that downloads nothing should not pay for an HTTP client.
    import httpx2
    from unearth.errors import URLError

    settings = pip_settings()
    answers: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    with _client(settings) as client, tempfile.TemporaryDirectory(dir=folder) as scratch:
        for place, is_index in _places(settings):
            try:
                link = _find(pin, place, client, is_index=is_index)
                if link is None:
                    answers.append(f"{place}: does not have {pin.file}")
                    continue
                on_event(message("download", f"{pin.file} from {link.redacted}"))
                path = _get(link, client, Path(scratch) / pin.file, pin.bytes, on_event)
            except (httpx2.HTTPError, URLError, ValueError, OSError) as failure:
                answers.append(f"{place}: {str(failure) or type(failure).__name__}")
                continue
            got = _sha256(path)
            if got == pin.sha256:
                return path.replace(folder / pin.file)
            answers.append(
                f"{link.url_without_fragment}: sha256 is {got}, and {pin.sha256} is pinned; the file was not used"
            )
    raise DeployError(
        f"{pin.package} {pin.version} could not be downloaded",
        why=_without_credentials("\n".join(answers)) or "pip's settings name no index and no folder (no-index).",
        next_step="check the network and `pip config list`; or put the file into a folder and set PIP_FIND_LINKS to it",
    )


def pip_settings() -> dict[str, str]:
    """pip's effective settings by option name: files, then the sections of the commands, then `PIP_…` variables.

    pip documents this order under "Configuration", "Precedence"; `pip config list` prints `SECTION.OPTION=REPR`.
    """
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    merged: dict[str, dict[str, str]] = {}
    for line in listed.stdout.splitlines():
        name, separator, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if separator:
            merged.setdefault(section, {})[option] = str(ast.literal_eval(value))
    return merged.get("global", {}) | merged.get("download", {}) | merged.get(":env:", {})


def _places(settings: Mapping[str, str]) -> list[tuple[str, bool]]:
    """(URL or path, is it an index), in the order in which they are asked: local files before the network."""
    links = [(place, False) for place in settings.get("find-links", "").split()]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return links
    first = settings.get("index-url") or _default_index()
    return [*links, *((url, True) for url in [first, *settings.get("extra-index-url", "").split()])]


def _default_index() -> str:
    """Where pip looks when nobody told it where; pip itself knows.

    Raises:
        UsageError: this Python has no pip.
    """
    program = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    said = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise UsageError(f"{sys.executable} has no pip.", next_step=f"{sys.executable} -m ensurepip")
    return said.stdout.strip()


def _client(settings: Mapping[str, str]) -> PyPIClient:
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers.sync import PyPIClient

    context: ssl.SSLContext | bool = True
    if "cert" in settings or "client-cert" in settings:
        certificates = Path(settings["cert"]) if "cert" in settings else None
        is_folder = certificates is not None and certificates.is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else certificates, capath=certificates if is_folder else None
        )
        if "client-cert" in settings:
            context.load_cert_chain(settings["client-cert"])
    client = PyPIClient(
        trusted_hosts=settings.get("trusted-host", "").split(),
        verify=context,
        proxy=settings.get("proxy") or None,
        timeout=float(settings.get("timeout") or settings.get("default-timeout") or 15),  # pip's default
        follow_redirects=True,
    )
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=[url for url, index in _places(settings) if index])
    return client


def _find(pin: PinnedFile, place: str, client: PyPIClient, *, is_index: bool) -> Link | None:
    from unearth import PackageFinder

    # unearth logs what an index without the package answers; the report below says the same, once.
    logging.getLogger("unearth").setLevel(logging.ERROR)
    finder = PackageFinder(
        client,  # type: ignore[arg-type]  # unearth's client against unearth's own, slightly narrower, protocol
        index_urls=[place] if is_index else [],
        find_links=[] if is_index else [place],
        no_binary=[] if pin.file.endswith(".whl") else [pin.package],
        ignore_compatibility=True,
    )
    # The matches are read from the network as they are looped over, so they are looped over inside the retry.
    found = _patiently(lambda: list(finder.find_matches(f"{pin.package}=={pin.version}")))
    return next((package.link for package in found if package.link.filename == pin.file), None)


def _get(link: Link, client: PyPIClient, to: Path, most: int | None, on_event: OnEvent) -> Path:
    def attempt() -> Path:
        # Raw bytes: a server that labels a .tar.gz as gzip-encoded would have it unpacked by the client.
        identity = {"Accept-Encoding": "identity"}
        with client.stream("GET", link.normalized, headers=identity) as response, to.open("wb") as file:
            response.raise_for_status()
            total, told = int(response.headers.get("Content-Length", 0)), 0
            for chunk in response.iter_raw(2**16):
                file.write(chunk)
                if most is not None and file.tell() > most:
                    raise ValueError(f"it sends more than the {most} bytes that are pinned")
                if file.tell() - told >= _REPORT_EVERY or file.tell() == total:
                    told = file.tell()
                    on_event(progress("download", told, total, unit="bytes"))
        return to

    return _patiently(attempt)


def _patiently(call: Callable[[], _Result]) -> _Result:
    """Call again after a lost connection or a refusal that says "later"; three times in all."""
    import httpx2

    def passes_by_itself(failure: BaseException) -> bool:
        if isinstance(failure, httpx2.HTTPStatusError):
            return failure.response.status_code in (408, 429, 500, 502, 503, 504)
        return isinstance(failure, httpx2.TransportError)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes_by_itself),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=4),
        reraise=True,
    )
    return retrying(call)


def _without_credentials(text: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

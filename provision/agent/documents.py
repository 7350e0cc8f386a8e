"""Release documents on the host, and the manifests that they describe."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Dict, Iterable, Mapping

from ..contract.failure import FAILED, FORMAT_OF_PEERS, Failure, check_format
from ..contract.layout import Layout
from ..contract.slots import services_in
from ..contract.state import Program
from . import files
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument


def service_of(documents: Mapping[str, ReleaseDocument], program: str, record: Program) -> ServiceDocument:
    """How a release describes a program.

    Raises:
        Failure: its release is not on the host any more.
    """
    document = documents.get(record.release)
    for service in services_in(document, record.slot) if document else ():
        if service["program"] == program:
            return service
    raise Failure(FAILED, f"release {record.release[:12]} does not describe {program} any more.")


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def manifest_digest(supervisor: Supervisor, manifest: str) -> str:
    """sha256 of a manifest as it is on disk; empty where it is missing."""
    try:
        with open(supervisor.manifest_path(manifest), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""


def read_documents(layout: Layout, releases: Iterable[str]) -> Dict[str, ReleaseDocument]:
    """release.json of each release that is on the host.

    Raises:
        Failure: one has a format that this version does not read.
    """
    found = {}
    for release in releases:
        document = files.read_json(layout.document(release))
        if document is not None:
            check_format(document, layout.document(release), FORMAT_OF_PEERS)
            found[release] = document
    return found

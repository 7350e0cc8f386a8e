"""Release documents on the host, and the manifests that they describe."""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Iterable

from . import files, protocol
from .layout import Layout
from .protocol import FAILED, AgentError
from .state import Program
from .supervisors import Supervisor


def service_of(documents: Dict[str, Dict[str, Any]], program: str, record: Program) -> Dict[str, Any]:
    """How a release describes a program.

    Raises:
        AgentError: its release is not on the host any more.
    """
    document = documents.get(record.release)
    for service in (document or {}).get("lanes", {}).get(record.lane, {}).get("services", []):
        if service["program"] == program:
            return dict(service)
    raise AgentError(FAILED, f"release {record.release[:12]} does not describe {program} any more.")


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def manifest_digest(supervisor: Supervisor, manifest: str) -> str:
    """sha256 of a manifest as it is on disk; empty where it is missing."""
    try:
        with open(supervisor.manifest_path(manifest), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""


def read_documents(layout: Layout, releases: Iterable[str]) -> Dict[str, Dict[str, Any]]:
    """release.json of each release that is on the host.

    Raises:
        AgentError: one has a format that this version does not read.
    """
    found = {}
    for release in releases:
        document = files.read_json(layout.document(release))
        if document is not None:
            protocol.check_format(document, layout.document(release), protocol.FORMAT_OF_SECRETS)
            found[release] = document
    return found

"""What a service reads of a release, as a digest: a change of it restarts the service, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pathspec import GitIgnoreSpec

from provision.contract import tree
from provision.contract.canonical import digest as digest_of
from provision.contract.release import EnvironmentDocument, PrepareDocument
from provision.project.service import Service
from provision.release.libraries import Beside
from provision.release.model_file import ModelFile

_EVERYTHING = ("**",)


def content(
    service: Service,
    files: Mapping[str, tree.Entry],
    libraries: Sequence[Beside],
    models: Mapping[str, tuple[ModelFile, ...]],
    prepare: PrepareDocument | None,
    made: EnvironmentDocument | None,
) -> str:
    """A digest of what a service reads: a change of it must restart the service."""
    if service.paths == _EVERYTHING:
        read = set(files)
    else:
        spec = GitIgnoreSpec.from_lines(service.paths)
        read = {path for path in files if spec.match_file(path)}
    if prepare and read:
        read |= {path for path in prepare["inputs"] if path in files}
    binary = os.path.normpath(service.binary or "")
    if binary in files:
        read.add(binary)
        read |= {file for each in libraries if each.binary == binary for file in each.files}
    return digest_of(
        {
            "files": tree.combine(files[path] for path in read),
            "models": [file.sha256 for model in service.every_model for file in models.get(model, ())],
            "prepare": prepare if read else None,
            **({"environment": made} if made and not service.is_native else {}),
        }
    )

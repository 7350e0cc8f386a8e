"""One file of a model in a release: a link to its content, which the project's folder on a host has once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from provision.project.models import Model
    from provision.release.model_lock import LockedFile, SnapshotFile


@dataclass(frozen=True)
class ModelFile:
    """One model, or one part of a model that is split into several files."""

    relative: str  # where a release has it
    source: Path | None  # where it lies on this machine, if it does
    sha256: str
    bytes: int
    tensor_types: tuple[str, ...]
    architecture: str
    behind: str = ""  # where the file itself lies in the project, if what is declared is a link to it
    url: str = ""  # where it is fetched from
    token: str = ""  # the variable of what is shown there
    relayed: bool = False  # whether it comes to hosts by way of this machine
    limit: int = 0  # bytes a second that a host takes for it; 0 for no limit
    folder: str = ""  # of a snapshot's: where a release has all of it, which is what a program is told

    @classmethod
    def fetched(
        cls,
        model: Model,
        file: LockedFile | SnapshotFile,
        relative: str,
        architecture: str,
        *,
        tensor_types: tuple[str, ...] = (),
        folder: str = "",
    ) -> ModelFile:
        """One that comes from where its model is declared to be, as it is locked."""
        return cls(
            relative=relative,
            source=None,
            sha256=file.sha256,
            bytes=file.bytes,
            tensor_types=tensor_types,
            architecture=architecture,
            url=file.url,
            token=model.token or "",
            relayed=model.fetch == "ship",
            limit=(model.limit or 0) // 8,
            folder=folder,
        )

    @property
    def told(self) -> str:
        """What a program is told, where this is the first of its model's files."""
        return self.folder or self.relative

    @property
    def fetched_from(self) -> str:
        """Who has it, as plans say it; empty of one that lies here."""
        parts = urlsplit(self.url)
        return f"s3://{parts.netloc}" if parts.scheme == "s3" else parts.netloc

    @property
    def places(self) -> tuple[str, ...]:
        """Where a release has a link to the model's content."""
        return (self.relative, self.behind) if self.behind else (self.relative,)

    def link(self, path: str) -> str:
        """The target of the link at `path` in a release, which lies two folders below the project's: releases/ID/."""
        up = "../" * (path.count("/") + 2)
        return f"{up}shared/models/sha256-{self.sha256}/{Path(self.relative).name}"

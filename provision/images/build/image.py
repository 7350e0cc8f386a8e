"""From a recipe to an image in a folder: staged, built, written anew, with its bill of materials and its record.

build/images/NAME/context/          what the builder was given
build/images/NAME/oci/              the image, an OCI layout: its digest is the one that will be published
build/images/NAME/sbom.spdx.json    what it consists of
build/images/NAME/record.json       how it was built
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from provision import linux
from provision.contract.model_types import COMMIT_LABEL, PROFILE_LABEL, SOURCE_LABEL, TYPES_LABEL
from provision.errors import UsageError
from provision.images.build import checks
from provision.images.build.bake import Recipe
from provision.images.build.context import Parts, stage
from provision.images.build.engine import OnEvent
from provision.images.build.labels import DRAINS_LABEL, PORT_LABEL, PROBE_LABEL, SECRETS_LABEL, SERVES_LABEL
from provision.images.build.layout import OciLayout
from provision.images.build.layout import write as write_layout
from provision.images.build.sbom import sbom
from provision.images.registry.architectures import ARCHITECTURES

_WATCHED = ("images", "bitnet", "native", "examples")  # what images are made of


class Builder(Protocol):
    """What `DockerBuilder` and `BuildahBuilder` have in common."""

    @property
    def version(self) -> str: ...

    def build(
        self, context: Path, archive: Path, *, args: Mapping[str, str], platform: str, epoch: int, on_event: OnEvent
    ) -> list[str]: ...

    def load(self, archive: Path) -> None: ...


@dataclass(frozen=True)
class Revision:
    """The commit that an image is of."""

    commit: str  # with `-dirty` behind it where files were changed since
    epoch: int  # its time, seconds since 1970
    source: str  # where the repository is

    @property
    def created(self) -> str:
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Built:
    """An image that is ready to be pushed."""

    recipe: Recipe
    layout: OciLayout
    sbom: Path
    record: Path


def revision(root: Path) -> Revision:
    """Of the checkout in `root`; `$SOURCE_DATE_EPOCH` is used instead of the commit's time.

    Raises:
        UsageError: it is no checkout.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        raise UsageError(f"{root} is no git checkout, so an image of it would have no revision.", next_step="git init")
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct")
    changed = _git(root, "status", "--porcelain", "--", *_WATCHED)
    source = _git(root, "config", "--get", "remote.origin.url")
    scheme, separator, rest = source.partition("://")
    # A token may stand before the host.
    source = f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else source
    return Revision(commit + ("-dirty" if changed else ""), int(epoch), source)


def build(
    recipe: Recipe,
    parts: Parts,
    builder: Builder,
    *,
    root: Path,
    base: str,
    on: Built | None = None,
    revision: Revision,
    version: str,
    platform: str,
    cache: Path,
    on_event: OnEvent,
) -> Built:
    """Build one image.

    Args:
        base: what `FROM` gets; empty where the recipe has no base.
        on: the base, where it was built here as well; what it is called in the image is its digest then.
        version: this project's own.
        cache: where compressed layers are kept.

    Raises:
        UsageError: the programs are for another platform, or the recipe is not for this one.
        DeployError: the builder failed.
    """
    check_platform(recipe, platform)
    native = _native(parts)
    folder = recipe.context.parent
    on_event({"event": "message", "phase": "stage", "text": f"{recipe.name}: gathering what it is made of"})
    context = stage(recipe, parts, root)
    archive = folder / "built.tar"
    args = {"BASE": base} if base else {}
    named = f"{on.recipe.name}@{on.layout.manifest.digest}" if on else base
    layers = builder.build(context, archive, args=args, platform=platform, epoch=revision.epoch, on_event=on_event)
    on_event({"event": "message", "phase": "build", "text": f"{recipe.name}: writing its layers"})
    layout = write_layout(
        archive,
        folder / "oci",
        base=layers,
        labels=_labels(recipe, named, revision, version) | of_programs(native),
        epoch=revision.epoch,
        cache=cache,
    )
    archive.unlink()
    record = _record(recipe, layout, named, revision, builder.version, native, parts)
    built = Built(recipe, layout, folder / "sbom.spdx.json", folder / "record.json")
    built.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    built.sbom.write_bytes(sbom(recipe, layout, named, record, on.recipe if on else None))
    return built


def take(builder: Builder, base: Built) -> str:
    """Let `builder` have what an image is based on; what `FROM` gets then.

    Raises:
        DeployError: it does not take it.
    """
    archive, name = base.layout.folder.with_name("load.tar"), f"{base.recipe.name}:built"
    base.layout.save(archive, name)
    try:
        builder.load(archive)
    finally:
        archive.unlink()
    return name


def check_platform(recipe: Recipe, platform: str) -> None:
    """Refuse what cannot be, before anything is compiled for it.

    Raises:
        UsageError: the image is not for `platform`, or this machine compiles for another one, or for none.
    """
    if platform not in recipe.platforms:
        raise UsageError(f"{recipe.name} is not for {platform}.", why=f"It is for {', '.join(recipe.platforms)}.")
    if recipe.programs:
        linux.demand("building an image with compiled programs", instead="build it on a Linux machine, or in CI")
    if recipe.programs and platform != f"linux/{ARCHITECTURES.get(os.uname().machine)}":
        raise UsageError(
            f"this machine compiles for {os.uname().machine}, and {platform} was asked for.",
            why="Programs are compiled here, also where the engine is elsewhere.",
            next_step=f"on a machine of that platform: deploy image build {recipe.name}",
        )


def of_programs(native: Mapping[str, Any]) -> dict[str, str]:
    """The labels that say what the programs in an image are.

    Args:
        native: build.json of their build; empty where there are none.
    """
    if not native:
        return {}
    source = native.get("source", {})
    labels = {
        PROFILE_LABEL: native.get("profile", ""),
        SOURCE_LABEL: source.get("name", ""),
        COMMIT_LABEL: source.get("commit", "") + ("-modified" if source.get("modified") else ""),
        TYPES_LABEL: " ".join(native.get("ternary_types", ())),
    }
    return {key: value for key, value in labels.items() if value}


def _native(parts: Parts) -> dict[str, Any]:
    if parts.binaries is None:
        return {}
    found: dict[str, Any] = json.loads((parts.binaries / "build.json").read_text(encoding="utf-8"))
    return found


def _labels(recipe: Recipe, base: str, revision: Revision, version: str) -> dict[str, str]:
    """OCI image specification, "Annotations": the predefined keys; and what the smoke test goes by."""
    standard = {
        "title": recipe.title,
        "description": recipe.description,
        "licenses": recipe.licenses,
        "version": version,
        "revision": revision.commit,
        "source": revision.source,
        "created": revision.created,
        "base.name": base.partition("@")[0],
        "base.digest": base.partition("@")[2],
    }
    labels = {f"org.opencontainers.image.{key}": value for key, value in standard.items()}
    labels |= {
        PROBE_LABEL: recipe.probe,
        PORT_LABEL: str(recipe.port or ""),
        SERVES_LABEL: recipe.serves,
        SECRETS_LABEL: " ".join(recipe.secrets),
        checks.LABEL: checks.write(recipe.checks),
        DRAINS_LABEL: "true" if recipe.drains else "",
    }
    return {key: value for key, value in sorted(labels.items()) if value}


def _record(
    recipe: Recipe,
    layout: OciLayout,
    base: str,
    revision: Revision,
    builder: str,
    native: Mapping[str, Any],
    parts: Parts,
) -> dict[str, Any]:
    return {
        "format": 1,
        "image": recipe.name,
        "digest": layout.manifest.digest,
        "base": base,
        "revision": revision.commit,
        "source": revision.source,
        "created": revision.created,
        "builder": builder,
        "native": dict(native),
        "probe": parts.probe.name if parts.probe else "",
        "libraries_of": dict(parts.libraries_of),
    }


def _git(root: Path, *arguments: str) -> str:
    """What git says; empty where it has nothing to say."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""What goes into an image: compiled here, downloaded here, all of it pinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from provision import native
from provision.images.build.bake import FOLDER, Recipe
from provision.images.build.context import Parts
from provision.images.build.licences import licences
from provision.images.build.packages import of_file, packages
from provision.images.build.probe import probe
from provision.native import cuda, sources
from provision.workbench import Workbench


def gather(
    recipe: Recipe,
    platform: str,
    root: Path,
    on_event: Callable[[dict[str, object]], None],
    *,
    workbench: Workbench | None = None,
    source: str = "",
    define: Mapping[str, str] | None = None,
) -> Parts:
    """The parts of `recipe`; what was made before comes from the cache.

    Args:
        workbench: where compilers run; on this machine by default.
        source: of the programs, instead of the recipe's; as `deploy native build --source` takes it.
        define: CMake variables on top of the profile's and the recipe's.

    Raises:
        UsageError: a program or a file is missing.
        DeployError: something could not be had, or does not compile.
    """
    folder, cache = recipe.context.parent, image_cache()
    binaries, loaded, found = None, None, [("bitnet-provision.txt", root / "LICENSE")]
    if recipe.programs:
        binaries, wanted = folder / "native", source or recipe.source or None
        native.build(
            recipe.profile,
            targets=recipe.programs,
            source=wanted,
            root=root,
            out=binaries,
            define={**recipe.define, **(define or {})},
            toolkit=recipe.toolkit,
            workbench=workbench,
            on_event=on_event,
        )
        kept = native.Cache.of_user()
        tree = sources.provide(sources.find(wanted, kept, on_event), kept, on_event)
        found += licences(tree, folder / "licences")
        if recipe.toolkit:
            loaded = cuda.runtime(kept, on_event)
            found += loaded.licences
    return Parts(
        binaries=binaries,
        probe=probe(root / FOLDER / "probe.c", cache, workbench) if recipe.probe else None,
        packages=_packages(recipe, platform, cache),
        licences=found,
        libraries=loaded.libraries if loaded else (),
        libraries_of=loaded.packages if loaded else {},
    )


def _packages(recipe: Recipe, platform: str, cache: Path) -> Path | None:
    if not recipe.python:
        return None
    return packages(of_file(recipe.folder / recipe.requirements), recipe.python, platform, cache)


def image_cache() -> Path:
    """Where wheels, the probe and the compressed layers of bases are kept; it can be deleted at any time."""
    return native.Cache.of_user().root / "images"

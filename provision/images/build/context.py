"""The folder that a builder is given: only files that were named, so nothing else can come into an image.

`cuda/`, `native/`, `python/` and `app/` are copied to `/` by the Dockerfile, one layer each; `state/` is for the user
that the image runs as, which the Dockerfile says.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from provision.errors import UsageError
from provision.images.build.bake import Recipe
from provision.release.ignore import never
from provision.release.keys import is_secret

_OWNER = "65532"  # "nonroot" as other minimal images number it
_PASSWD = f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{_OWNER}:{_OWNER}:nonroot:/:/sbin/nologin\n"
_GROUP = f"root:x:0:\nnonroot:x:{_OWNER}:\n"
_no_part = shutil.ignore_patterns("*.pyc", "tests", "*.pyi")  # of a project's folder that goes into an image


@dataclass(frozen=True)
class Parts:
    """What goes into an image besides its own folder; None where it has none."""

    binaries: Path | None  # `bin` and `build.json` of a native build
    probe: Path | None
    packages: Path | None  # a folder of Python packages
    licences: Sequence[tuple[str, Path]]  # name in the image, file
    libraries: Sequence[Path] = ()  # of CUDA, which the programs load from their own folder
    libraries_of: Mapping[str, str] = field(default_factory=dict)  # the packages that those are of, with versions


def stage(recipe: Recipe, parts: Parts, root: Path) -> Path:
    """Fill `recipe.context`; what was there goes.

    Raises:
        UsageError: the recipe names a file that is not there.
    """
    context = recipe.context
    shutil.rmtree(context, ignore_errors=True)
    for layer in ("native", "python", "app"):
        (context / layer).mkdir(parents=True)
    shutil.copy(recipe.folder / "Dockerfile", context)
    native = context / "native"
    if parts.binaries:
        shutil.copytree(parts.binaries / "bin", _below(native, recipe.programs_in), dirs_exist_ok=True)
        # Where `bitnet` looks for it: beside the folder of the programs.
        shutil.copy(parts.binaries / "build.json", _below(native, str(PurePosixPath(recipe.programs_in).parent)))
    for library in parts.libraries:
        _copy(library, _below(context / "cuda", recipe.programs_in) / library.name, 0o644)
    if parts.probe:
        _copy(parts.probe, _below(native, recipe.probe), 0o755)
    for name, file in parts.licences:
        _copy(file, native / "licenses" / name, 0o644)
    if recipe.programs:
        (native / "models").mkdir()
    if not recipe.base:
        _empty_root(native)
    if parts.packages:
        shutil.copytree(parts.packages, _below(context / "python", recipe.python_in), dirs_exist_ok=True)
    _stage_app(recipe, context / "app", root)
    if recipe.state:
        (context / "state").mkdir()
    _same_modes(context)
    return context


def _stage_app(recipe: Recipe, app: Path, root: Path) -> None:
    for place, name in recipe.files.items():
        if not (root / name).exists():
            raise UsageError(f"{recipe.folder / 'image.toml'}: files names {name}, which is not there.")
        _copy_all(root / name, _below(app, place))
    if (recipe.folder / "app").is_dir():
        _copy_folder(recipe.folder / "app", app, _left_here)


def _empty_root(root: Path) -> None:
    """What programs expect of any root: who they are, and a place for temporary files."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "passwd").write_text(_PASSWD, encoding="ascii")
    (root / "etc" / "group").write_text(_GROUP, encoding="ascii")
    (root / "tmp").mkdir()


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _copy_all(source: Path, to: Path) -> None:
    if source.is_dir():
        _copy_folder(source, to, lambda folder, names: _left_here(folder, names) | _no_part(folder, names))
    else:
        _copy(source, to, source.stat().st_mode)


def _copy_folder(source: Path, to: Path, ignore: Callable[[str, list[str]], set[str]]) -> None:
    """What is copied because its folder is, may not be a secret: whoever pulls the image would have it."""
    shutil.copytree(source, to, ignore=ignore, dirs_exist_ok=True, copy_function=_copy_no_secret)


def _copy_no_secret(source: str, to: str) -> str:
    file = Path(source)
    real = file.resolve()  # what a link leads to is copied
    if what := is_secret(file.parent, file.name) or is_secret(real.parent, real.name):
        raise UsageError(
            f"{file} {what}, and an image is read by everybody who pulls it.",
            next_step="move it out of the folder; or, to have it there on purpose, name the file itself in files",
        )
    return str(shutil.copy2(file, to))


def _left_here(_: str, names: list[str]) -> set[str]:
    """The names that no release ships, of those in a folder."""
    return {name for name in names if never(name)}


def _copy(file: Path, to: Path, mode: int) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    to.chmod(mode)


def _same_modes(context: Path) -> None:
    """A person's umask is no part of an image."""
    for path in context.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
    tmp = context / "native" / "tmp"
    if tmp.is_dir():
        tmp.chmod(0o1777)

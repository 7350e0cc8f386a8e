"""What a builder is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.images.build.bake import Recipe
from provision.images.build.context import Parts, stage

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("place", ["src/keys/deploy_key", "images/web/app/srv/server.pem"])
def test_a_private_key_that_lies_in_a_folder_comes_into_no_image_but_by_its_own_name(
    place: str, tmp_path: Path
) -> None:
    """Hole 4: whoever pulls the image would have it."""
    folder = tmp_path / "images/web"
    for file, text in {"images/web/Dockerfile": "FROM scratch", "src/main.py": "", "keys/mine": KEY}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    def staged() -> Path:
        files = {"/srv/src": "src", "/srv/key": "keys/mine"}
        parts = Parts(binaries=None, probe=None, packages=None, licences=())
        return stage(Recipe("web", folder, tmp_path / "context", "", "", "MIT", (), files=files), parts, tmp_path)

    assert (staged() / "app/srv/key").read_text() == KEY, "its own name says that it is meant"
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(KEY)

    with pytest.raises(UsageError, match=f"{place} is a private key, and an image is read by everybody"):
        staged()


def test_a_folder_leaves_here_what_no_release_ships(tmp_path: Path) -> None:
    """Hole 4: passwords and history came into images whose folder was copied whole."""
    files = ["images/web/Dockerfile"]
    for folder in ("src", "images/web/app/srv/own"):
        files += [f"{folder}/{name}" for name in (".env", ".env.local", ".git/config", ".env.example", "main.py")]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("PASSWORD=hunter2")
    recipe = Recipe("web", tmp_path / "images/web", tmp_path / "context", "", "", "MIT", (), files={"/srv/src": "src"})

    context = stage(recipe, Parts(binaries=None, probe=None, packages=None, licences=()), tmp_path)

    kept = sorted(path.relative_to(context / "app").as_posix() for path in (context / "app").rglob("*.*"))
    assert kept == [f"srv/{folder}/{name}" for folder in ("own", "src") for name in (".env.example", "main.py")]

"""Every file that a person writes in TOML is read in one way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.errors import DeclarationError
from provision.images.build.bake import read_recipes as images
from provision.images.promotion.declared import find_image
from provision.project import load

DECLARATION = """\
[project]
name = "cres"
[services.web]
command = ["web"]
[targets.fleet]
platform = "systemd"
hosts = ["gpu-01"]
path = "/srv/cres"
"""
BAKE = '{"target": {"app": {"context": "."}}}'
IMAGE = 'title = "app"\ndescription = "An app."\nlicenses = "MIT"\nplatforms = ["linux/amd64"]\n'
# File, what it says, and what reads it.
FILES = [
    pytest.param("deploy.toml", DECLARATION, lambda root: load(root, environ={}), id="deploy.toml"),
    pytest.param(
        "promotion.toml",
        '[app]\nrepository = "ghcr.io/o/app"\n',
        lambda root: find_image(root, "app"),
        id="promotion.toml",
    ),
    pytest.param("images/app/image.toml", IMAGE, images, id="image.toml"),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "images/app").mkdir(parents=True)
    (tmp_path / "images/docker-bake.json").write_text(BAKE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "text", "read"), FILES)
def test_a_byte_order_mark_is_no_mistake(name: str, text: str, read: Callable[[Path], object], root: Path) -> None:
    (root / name).write_text(text, encoding="utf-8-sig")

    assert read(root)


@pytest.mark.parametrize(("name", "text", "read"), FILES)
@pytest.mark.parametrize(
    ("encoding", "line"), [pytest.param("latin-1", 2, id="latin-1"), pytest.param("utf-16", 1, id="utf-16")]
)
def test_another_encoding_is_refused_with_file_and_line(
    name: str, text: str, read: Callable[[Path], object], encoding: str, line: int, root: Path
) -> None:
    first, _, rest = text.partition("\n")
    (root / name).write_bytes(f"{first}\n# für Größe\n{rest}".encode(encoding))

    with pytest.raises(DeclarationError) as refused:
        read(root)

    assert str(refused.value) == f"{name}:{line}: not UTF-8 text. Save the file as UTF-8."


@pytest.mark.parametrize(("name", "text", "read"), FILES)
def test_what_is_not_toml_or_given_twice_is_refused_with_its_place(
    name: str, text: str, read: Callable[[Path], object], root: Path
) -> None:
    said = []
    for more in ("\n[open\n", "\n[a]\nb = 1\nb = 2\n"):
        (root / name).write_text(text + more)
        with pytest.raises(DeclarationError) as refused:
            read(root)
        said.append(str(refused.value))

    after = len(text.splitlines()) + 2
    assert said == [
        f"{name}:{after}:6: not TOML: expected ']' at the end of a table declaration.",
        f"{name}:{after + 2}:1: a.b: given twice; first on line {after + 1}.",
    ]


@pytest.mark.parametrize("words", [["check"], ["render", "systemd"], ["render", "ufw"]], ids=" ".join)
def test_verbs_that_look_for_the_only_target_take_a_byte_order_mark(
    words: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "deploy.toml").write_text(DECLARATION, encoding="utf-8-sig")
    with_mark = main(words), capsys.readouterr().out
    (root / "deploy.toml").write_text(DECLARATION)

    assert with_mark == (main(words), capsys.readouterr().out)
    assert with_mark[0] == 0


def test_what_an_image_cannot_mean_is_said_with_its_place(root: Path) -> None:
    (root / "images/app/image.toml").write_text(
        f'{IMAGE}serves = "ftp"\nchecks = [{{ http = "/a" }}, {{ tcp = 0 }}]\nprofil = "min"\n'
    )

    with pytest.raises(DeclarationError) as refused:
        images(root)

    assert [str(problem) for problem in refused.value.problems] == [
        "images/app/image.toml:5:10: serves: expected one of llama, http, stdin, not 'ftp'.",
        "images/app/image.toml:6:28: checks[1]: tcp: expected a port such as 9481, not 0.",
        'images/app/image.toml:7:1: profil: unknown key. Did you mean "profile"?',
    ]

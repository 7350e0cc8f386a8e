"""Which files are shipped: git itself says which ones its rules leave."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from provision.release.ignore import Wanted, shipped
from tests.release.projects import write

NOTHING = Wanted((), frozenset())
_NAMES = st.sampled_from(["a", "b", "c.log", "d.py", "build", "x y", "é", "#h", "!n"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
# not "?": it is one byte to git, and one character here
_PATTERNS = st.sampled_from(
    [
        *(
            "a",
            "b/",
            "/a",
            "/build/",
            "*.log",
            "!c.log",
            "!a/",
            "a/*",
            "!a/b",
            "a/b",
            "**/b",
            "a/**",
            "a/**/d.py",
            "b/*.py",
        ),
        *(
            "*",
            "!*/",
            "[ab]",
            "!/a/b/",
            "d.*",
            "x\\ y",
            "x y",
            "\\#h",
            "#h",
            "\\!n",
            "é",
            "",
            "  ",
            "a ",
            "/",
            "**",
        ),
        *("!", "!/", "a\\", "\\/a", "a/\\", "[", "[a", "[[a]", "***", "//"),  # malformed, most of them
    ]
)
_RULES = st.lists(_PATTERNS, max_size=5).map("\n".join)


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
        yield Path(folder)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.lists(_PATHS, max_size=12), rules=st.dictionaries(st.sampled_from(["", "a/", "a/b/", "build/"]), _RULES)
)
@example(files=["a/b/c.log", "a/b/d.py"], rules={"": "a/*\n!a/b\n*.log", "a/b/": "!c.log"})
@example(files=["a/d.py", "a/b"], rules={"": "*\n!*/\n!d.py"})
@example(files=["a/b", "a/d.py"], rules={"": "a/**\n!a/b"})
@example(files=["build/c.log", "build/d.py"], rules={"": "*.log\nbuild/\n!build/"})
@example(files=["a/b/c.log"], rules={"": "*.log", "a/": "!b/"})
@example(files=["a/d.py"], rules={"": "a/\n!a/d.py"})
def test_gitignore_means_what_it_means_to_git(files: list[str], rules: Mapping[str, str], repository: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in [*((path, "") for path in files), *((f"{at}.gitignore", text) for at, text in rules.items())]:
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # drawn as a file and as a folder
                write(root, {path: text})

        listed = subprocess.run(
            [
                "git",
                f"--git-dir={repository}",
                f"--work-tree={root}",
                "ls-files",
                "-oz",
                "--exclude-per-directory=.gitignore",
            ],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )

        theirs = {path for path in listed.stdout.split("\0") if path and not path.endswith(".gitignore")}
        assert set(shipped(root, NOTHING, frozenset())) == theirs


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose user has a file of rules as well; it says what git leaves in `sub/project`."""
    write(tmp_path, {"gitconfig": f"[core]\n\texcludesFile = {tmp_path}/mine\n"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    subprocess.run(["git", "init", "-q", tmp_path / "checkout"], check=True)
    return tmp_path / "checkout"


def listed_by_git(root: Path) -> set[str]:
    command = ["git", "ls-files", "-oz", "--exclude-standard", "."]
    found = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {path for path in found.split("\0") if path and not path.endswith(".gitignore")}


def test_rules_outside_of_the_project_count_as_git_counts_them(checkout: Path) -> None:
    """Issue 13, 16."""
    project = checkout / "sub" / "project"
    write(checkout.parent, {"mine": "*.swp\n!top.log\n*.mine\n"})
    write(checkout / ".git", {"info/exclude": "/sub/project/local\n/project/no\n*.sec\n!a.mine\n"})
    write(
        checkout, {".gitignore": "*.log\n/sub/project/dist/\nproject/b\n", "sub/.gitignore": "!top.log\n/project/c\n"}
    )
    write(project, {".gitignore": "!kept.sec\n"})
    write(
        project,
        dict.fromkeys(
            [
                "a",
                "b",
                "c",
                "local",
                "no",
                "dist/x",
                "x.log",
                "top.log",
                "a.swp",
                "x.sec",
                "kept.sec",
                "a.mine",
                "b.mine",
            ],
            "",
        ),
    )

    assert set(names(project)) == listed_by_git(project) == {"a", "b", "no", "top.log", "kept.sec", "a.mine"}


def test_a_repository_that_ignores_the_project_itself_says_nothing_of_what_is_in_it(checkout: Path) -> None:
    write(checkout, {".gitignore": "*\n", "project/app.py": "", "project/x.log": "", "project/.gitignore": "*.log\n"})

    assert names(checkout / "project") == ["app.py"]


def test_without_git_the_project_s_own_rules_count(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(checkout, {".gitignore": "*.log\n", "project/app.py": "", "project/x.log": ""})
    monkeypatch.setenv("PATH", str(checkout))

    assert names(checkout / "project") == ["app.py", "x.log"]


def names(root: Path, wanted: Wanted = NOTHING, without: frozenset[str] = frozenset()) -> list[str]:
    return list(shipped(root, wanted, without))


def test_deployignore_is_asked_before_gitignore(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "dist/\n*.log\n",
            ".deployignore": "!dist/\ntests/\n",
            "dist/app.js": "",
            "dist/x.log": "",
            "tests/test.py": "",
            "app.py": "",
            "sub/.gitignore": "!*.log",
            "sub/.deployignore": "secret.log",
            "sub/a.log": "",
            "sub/secret.log": "",
        },
    )

    assert names(tmp_path) == ["app.py", "dist/app.js", "sub/a.log"]


@pytest.mark.parametrize("wanted", [NOTHING, Wanted(("**",), frozenset())])
def test_secrets_and_what_is_about_this_machine_is_never_shipped(wanted: Wanted, tmp_path: Path) -> None:
    never = [
        ".env",
        ".env.local",
        ".envrc",
        ".git/HEAD",
        ".venv/bin/python",
        ".deploy/known_hosts",
        "__pycache__/a.pyc",
    ]
    write(tmp_path, dict.fromkeys([*never, *(f"deep/er/{path}" for path in never), ".gitignore", ".deployignore"], ""))
    write(tmp_path, {".env.example": "", "environment.py": "", "deep/er/.env.example": ""})

    assert names(tmp_path, wanted) == [".env.example", "deep/er/.env.example", "environment.py"]


@pytest.mark.parametrize(
    ("patterns", "brought_back"),
    [
        (("build/bin/**",), ["build/bin/lib.so", "build/bin/server"]),
        (("/build/bin/server",), ["build/bin/server"]),
        (("build/*/server",), ["build/bin/server"]),
        (("build/",), ["build/bin/lib.so", "build/bin/server", "build/log"]),
        (("*.so",), ["build/bin/lib.so"]),
        (("**/server",), ["build/bin/server"]),
        (("elsewhere/**",), []),
    ],
)
def test_include_brings_ignored_files_back(patterns: tuple[str, ...], brought_back: list[str], tmp_path: Path) -> None:
    files = ["app.py", "build/bin/lib.so", "build/bin/server", "build/log"]
    write(tmp_path, {".gitignore": "/build/", **dict.fromkeys(files, "")})

    assert names(tmp_path, Wanted(patterns, frozenset())) == ["app.py", *brought_back]


def test_a_single_file_is_brought_back_and_not_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "build", "build/bin/server": "", "build/bin/cli": "", "build/x": ""})

    assert names(tmp_path, Wanted((), frozenset({"build/bin/server"}))) == ["build/bin/server"]


def test_an_ignored_folder_that_nothing_is_wanted_from_is_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "locked", "app.py": "", "locked/x": "", "bin/server": ""})
    (tmp_path / "locked").rename(tmp_path / "gone")
    (tmp_path / "locked").symlink_to("gone")
    (tmp_path / ".deployignore").write_text("gone")

    assert names(tmp_path, Wanted(("bin/*",), frozenset())) == ["app.py", "bin/server"]


def test_what_is_left_out_is_left_out_whatever_is_wanted(tmp_path: Path) -> None:
    write(tmp_path, {"models/x.gguf": "", "web/dist/a.js": "", "web/app.js": ""})

    assert names(tmp_path, Wanted(("**",), frozenset()), frozenset({"models/x.gguf", "web/dist"})) == ["web/app.js"]

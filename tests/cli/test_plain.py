"""What is read without click is what click would have read."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.cli import plain
from provision.cli.channels import promote
from provision.cli.verbs.image.promote import command

_OPTIONS = ["--from", "--to", "--key", "--dir", "-C", "--dry-run", "--json", "--help", "--from=canary", "-C.", "--odd"]
_VALUES = ["app", "ghcr.io/owner/app", "canary", "sha256:12", "keys", "no-such", "folder", ".", "", "-", "--"]


def _by_click(words):
    """As `promote` gets it; `as_json` and `directory` besides."""
    return command.make_context("promote", list(words)).params


def _without_click(words):
    found = plain.read(["image", "promote", *words])
    if found is None:
        return None
    defaults = {name: p.default for name, p in inspect.signature(promote).parameters.items() if name != "session"}
    here = next(option.default for option in command.params if option.name == "directory")
    return {**defaults, "as_json": False, "directory": here, **found}


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory):
    """Where `keys` is a file and `folder` is one."""
    with pytest.MonkeyPatch.context() as patch:
        here = tmp_path_factory.mktemp("plain")
        (here / "keys").touch()
        (here / "folder").mkdir()
        patch.chdir(here)
        yield


@given(st.lists(st.sampled_from(_OPTIONS + _VALUES) | st.text(max_size=8), max_size=8))
def test_what_is_read_without_click_is_what_click_reads(words):
    found = _without_click(words)
    assert found is None or found == _by_click(words)


@pytest.mark.parametrize(
    "words",
    [
        "app",
        "app --dry-run --json",
        "--from canary app --to stable -C folder",
        "ghcr.io/owner/app --key keys --dir folder --json",
    ],
)
def test_what_ci_writes_is_read_without_click(words):
    assert _without_click(words.split()) == _by_click(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "",
        "app --help",
        "app other",
        "app --dri-run",
        "app --from",
        "app --to -x",
        "app --to a --to b",
        "app --dir no-such",
        "app --dir keys",
        "app --key folder",
        "-- app",
    ],
)
def test_what_has_to_be_judged_is_left_to_click(words):
    assert _without_click(words.split()) is None


def test_other_verbs_and_completion_are_left_to_click(monkeypatch):
    assert plain.read(["image", "rollback", "app"]) is None
    assert plain.read(["up"]) is None
    monkeypatch.setenv("_DEPLOY_COMPLETE", "bash_complete")
    assert plain.read(["image", "promote", "app"]) is None

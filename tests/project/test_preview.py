"""A project as a preview of it: names, ports, and what would still mean the project itself."""

from __future__ import annotations

import pytest

from provision.errors import Refused, UsageError
from provision.project import load
from provision.project.preview import first_port, judge_name, own_ports, ports_of, previewed, strays

DECLARATION = """
[project]
name = "shop"
[services.web]
command = ["serve", "${port}", "--workers", "8000.5"]
port = 8000
replicas = 2
[services.worker]
command = ["work", "--api", "http://127.0.0.1:8000/"]
env = { GOOD = "http://127.0.0.1:${services.web.port}", OTHER = "18000" }
[services.elsewhere]
command = ["serve", "${port}"]
port = 9000
[targets.here]
hosts = ["a"]
path = "/srv/shop"
name_prefix = "x-"
services = ["web", "worker"]
require = "evidence"
take_over = ["legacy"]
"""


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "deploy.toml").write_text(DECLARATION)
    (tmp_path / "evidence.pub").write_text("")
    return load(tmp_path, environ={})


def test_it_has_a_folder_names_and_ports_of_its_own(loaded):
    project = previewed(loaded, "here", "pr-7", 61_000).project
    target, service = project.targets["here"], project.services["web"]
    assert (target.path, target.name_prefix) == ("/srv/shop.previews/pr-7", "x-shop-preview-pr-7--")
    assert (service.port, service.canary_port, service.candidate_port) == (61_000, 61_002, 61_003)
    assert (target.require, target.take_over) == (None, ())
    assert loaded.project.services["web"].port == 8000


def test_no_port_of_it_is_one_of_the_project_s(loaded):
    project, target = loaded.project, loaded.project.targets["here"]
    assert own_ports(project, target) == {8000, 8001, 18000, 28000}
    preview = previewed(loaded, "here", "pr-7", 61_000).project
    assert own_ports(preview, target) == set(range(61_000, 61_000 + ports_of(project, target)))


def test_what_would_still_mean_the_project_is_named(loaded):
    assert list(strays(loaded.project, loaded.project.targets["here"])) == [
        "services.worker.command[2] says 8000, web's port outside of previews; ${services.web.port} is right in both"
    ]


@pytest.mark.parametrize("name", ["", "a--b", "-a", "a-", "Pr", "../x", "a/b", "a" * 31, ".trash-a", "ä"])
def test_a_name_that_no_folder_or_program_should_have_is_refused(name):
    with pytest.raises(UsageError, match="can't be the name of a preview"):
        judge_name(name)


@pytest.mark.parametrize("name", ["a", "pr-7", "7", "a" * 30])
def test_other_names_will_do(name):
    assert judge_name(name) == name


def test_ports_are_the_earlier_ones_where_those_will_do_and_else_free_ones_in_a_row():
    assert first_port("a", 4, set(), 61_500) == 61_500
    anew = first_port("a", 4, {61_502}, 61_500)
    assert anew != 61_500
    assert first_port("a", 4, set(), None) == anew == first_port("a", 4, set(), None)
    assert first_port("a", 4, {anew + 3}, None) == anew + 4
    assert first_port("b", 4, set(), None) != anew
    free = set(range(61_000, 65_501)) - set(range(62_000, 62_004))
    assert first_port("a", 4, free, None) == 62_000


def test_where_there_is_no_room_it_is_refused():
    with pytest.raises(Refused, match="there are no 4 free ports in a row"):
        first_port("a", 4, set(range(61_000, 65_501, 4)), None)
    with pytest.raises(Refused):
        first_port("a", 9_000, set(), None)

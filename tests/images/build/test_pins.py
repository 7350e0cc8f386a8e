"""What stands twice on purpose: an image beside its example, and its packages beside those that are tested here."""

from __future__ import annotations

import configparser
import re
import tomllib

import pytest

from provision.images.build import bake
from tests.images.build.make import REPOSITORY

STACK = REPOSITORY / "images" / "vast-stack"
EXAMPLE = REPOSITORY / "examples" / "vast-stack"
OWN = [name for name, recipe in bake.read_recipes(REPOSITORY).items() if recipe.requirements]


def versions(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", OWN)
def test_every_package_of_an_image_has_hashes(name: str) -> None:
    recipe = bake.find(REPOSITORY, name)
    entries = re.split(r"(?m)^(?=\S)", (recipe.folder / recipe.requirements).read_text())[1:]

    assert entries
    assert [
        entry for entry in entries if not re.fullmatch(r"\S+==\S+(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry)
    ] == []


def test_an_image_with_the_runtime_has_it_in_the_versions_that_are_tested_here() -> None:
    tested = versions("".join((REPOSITORY / "locks" / f"{name}.txt").read_text() for name in ("run", "test")))
    runtime = versions((REPOSITORY / "images/bitnet-cpu/requirements.txt").read_text())

    for file in ("bitnet-cpu/requirements.txt", "bitnet-cuda/requirements.txt", "vast-stack/requirements.instance.txt"):
        pinned = versions((REPOSITORY / "images" / file).read_text())
        assert {name: tested[name] for name in pinned} == pinned
        assert runtime.keys() <= pinned.keys()
    assert {"gguf", "prometheus-client", "psutil", "structlog", "tenacity"} <= runtime.keys()


def test_the_programs_of_the_stack_are_the_services_of_its_example() -> None:
    declared = tomllib.loads((EXAMPLE / "deploy.toml").read_text())["services"]
    written = configparser.ConfigParser(interpolation=None)
    written.read(STACK / "app/etc/supervisor/conf.d/vast-stack.conf")
    programs = {section.removeprefix("program:"): written[section] for section in written.sections()}

    on_demand = {
        name for name, service in declared.items() if service.get("on_demand") or service.get("preset") == "worker"
    }
    assert programs.keys() == declared.keys()
    assert {name for name, program in programs.items() if program.get("autostart") == "false"} == on_demand
    for name, service in declared.items():
        assert str(service.get("port", "")) in programs[name]["command"]
        mode = service.get("env", {}).get("WORKER_MODE", "")
        assert f'WORKER_MODE="{mode}"' in programs[name].get("environment", "") or not mode

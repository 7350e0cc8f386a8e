"""The file that people review, and what Compose understands of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from yamllint import linter
from yamllint.config import YamlLintConfig

from provision.errors import DeclarationError, UnencodableValue
from provision.manifests.compose import files
from provision.manifests.encoders.compose import compose_arg, compose_text
from provision.manifests.value import Value
from tests.manifests.compose.composer import config, meant
from tests.manifests.kubernetes.projects import CRES, project
from tests.manifests.projects import dollars_doubled
from tests.manifests.values import ECHO, Echo, batches, examples, texts

GOLDEN = Path(__file__).parent / "golden" / "compose.yaml"
NOWHERE = Path("/nonexistent")


def rendered(services: dict[str, Any]) -> str:
    return files(project(services), None, NOWHERE)["compose.yaml"]


TEXT = files(CRES, None, NOWHERE)["compose.yaml"]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return config(TEXT, tmp_path_factory.mktemp("compose"))["services"]  # type: ignore[no-any-return]


def test_the_file_is_as_reviewed() -> None:
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_text(TEXT)

    assert GOLDEN.read_text() == TEXT


def test_rendering_again_gives_the_same_bytes() -> None:
    assert files(CRES, None, NOWHERE)["compose.yaml"] == TEXT


def test_the_file_reads_well() -> None:
    lines = TEXT.split("\n")

    assert lines[-1] == ""
    assert lines[-2] != ""
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\n\n\n" not in TEXT


def test_yamllint_finds_nothing() -> None:
    rules = YamlLintConfig("{extends: default, rules: {document-start: disable, line-length: disable}}")

    assert [str(found) for found in linter.run(TEXT, rules)] == []


def test_every_service_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert service["user"] == "10001:10001", name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name


def test_ports_are_bound_to_this_machine_unless_exposed(services: dict[str, Any]) -> None:
    bound = {name: port.get("host_ip") for name, each in services.items() for port in each.get("ports", ())}

    assert bound == {"llama": "127.0.0.1", "gate": "127.0.0.1", "fastapi": None}


def test_limits_and_gpus_are_as_declared(services: dict[str, Any]) -> None:
    resources = services["llama"]["deploy"]["resources"]

    assert resources["limits"] == {"cpus": 4, "memory": "4000000000"}
    assert resources["reservations"]["devices"] == [{"capabilities": ["gpu"], "driver": "nvidia", "count": 1}]


def test_what_starts_waits_for_what_it_needs() -> None:
    text = rendered(
        {
            "db": {"command": ["db"], "port": 5432},
            "mail": {"command": ["mail"]},
            "migrate": {"command": ["migrate"], "batch": True, "after": ["db"]},
            "web": {"command": ["web"], "after": ["migrate", "db", "mail"]},
        }
    )
    with TemporaryDirectory() as folder:
        waits = config(text, Path(folder))["services"]["web"]["depends_on"]

    assert {name: wait["condition"] for name, wait in waits.items()} == {
        "migrate": "service_completed_successfully",
        "db": "service_healthy",
        "mail": "service_started",
    }


def test_what_is_on_demand_does_not_start_by_itself(tmp_path: Path) -> None:
    everything = config(TEXT, tmp_path)["services"]

    assert {name for name, each in everything.items() if "profiles" in each} == {"worker-gpu", "reindex"}


@pytest.mark.parametrize("present", ["curl", "wget", "python3", "nc", ""])
def test_a_health_check_passes_where_the_port_answers_with_what_the_image_has(present: str, tmp_path: Path) -> None:
    """Each way by itself, with programs that stand in for those of an image."""
    for name in filter(None, [present]):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    text = rendered(
        {"web": {"command": ["web"], "port": 80}, "api": {"command": ["a"], "port": 81, "check": {"http": "/x y'z"}}}
    )
    services = yaml.safe_load(text)["services"]
    passed = {
        name: subprocess.run(
            ["/bin/sh", "-c", meant(service["healthcheck"]["test"][1])],
            env={"PATH": str(tmp_path)},
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
        == 0
        for name, service in services.items()
    }

    assert passed == {"web": present in ("nc", "python3"), "api": present in ("curl", "wget", "python3")}


def compose_gives_back(values: list[str]) -> None:
    declared = {
        "command": ["run", *map(dollars_doubled, values)],
        "env": {f"V{at}": dollars_doubled(value) for at, value in enumerate(values)},
    }
    with TemporaryDirectory() as folder:
        web = config(rendered({"web": declared}), Path(folder))["services"]["web"]

    assert {name: meant(value) for name, value in web["environment"].items()} == {
        f"V{at}": value for at, value in enumerate(values)
    }
    assert [meant(word) for word in web["entrypoint"]] == ["run", *values]


@given(batches(texts()))
@examples(20)
@example(["=", "$", "$$", "${A}", "$A", "${A:-x}", "yes", "1e3", "\x85", "\ufffe", "\x7f", ""])
def test_compose_s_own_reader_gives_every_value_back(values: list[str]) -> None:
    """A thousand values, half of them as words: a process costs much, a value more in it nothing."""
    compose_gives_back(values)


@pytest.mark.slow
@given(batches(texts()))
@examples(400)
def test_compose_s_own_reader_gives_twenty_thousand_values_back(values: list[str]) -> None:
    compose_gives_back(values)


@given(batches(texts()))
@examples(20)
@example(["a\n\n", "\n", "%", "'", '"', "\\", "-n"])
def test_a_program_gets_its_secrets_byte_for_byte(values: list[str]) -> None:
    """Files in, variables out, by the shell that the file says; only where the files are differs from a container."""
    names = [f"S{at}" for at in range(len(values))]
    with TemporaryDirectory() as folder:
        for name, value in zip(names, values, strict=True):
            (Path(folder) / name).write_bytes(value.encode())
        text = rendered({"web": {"command": [dollars_doubled(word) for word in ECHO], "secrets": names}})
        entrypoint = [meant(word) for word in yaml.safe_load(text)["services"]["web"]["entrypoint"]]
        entrypoint[2] = entrypoint[2].replace("/run/secrets", folder)
        done = subprocess.run(entrypoint, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})

    told = Echo.of(done.stdout)
    assert {name: told.env[name] for name in names} == dict(zip(names, values, strict=True))
    assert {name for name in told.env if name.startswith("deploy")} == set()


def test_a_program_that_reads_files_gets_their_paths_and_no_shell(tmp_path: Path) -> None:
    text = rendered({"web": {"command": ["web", "--key", "${secret_files.KEY}"], "secret_files": ["KEY"]}})

    declared = config(text, tmp_path)
    web = declared["services"]["web"]

    assert web["entrypoint"] == ["web", "--key", "/run/secrets/KEY"]
    assert web["environment"] == {"KEY_FILE": "/run/secrets/KEY"}
    assert [(secret["source"], secret.get("target")) for secret in web["secrets"]] == [("KEY", "/run/secrets/KEY")]
    assert set(declared["secrets"]) == {"KEY"}


def test_a_secret_that_is_not_there_stops_the_program(tmp_path: Path) -> None:
    service = yaml.safe_load(rendered({"web": {"command": ["echo", "ran"], "secrets": ["TOKEN"]}}))["services"]["web"]
    entrypoint = [meant(word).replace("/run/secrets", str(tmp_path)) for word in service["entrypoint"]]

    done = subprocess.run(entrypoint, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""
    assert "TOKEN" in done.stderr


@pytest.mark.parametrize("encode", [compose_arg, compose_text])
@pytest.mark.parametrize(("value", "reason"), [("a\0", "NUL"), ("\ud800", "half a character")])
def test_what_no_process_can_be_given_is_refused(encode: Callable[[Value], str], value: str, reason: str) -> None:
    with pytest.raises(UnencodableValue, match=f"services.web.command: .*{reason}"):
        encode(Value("services.web.command", (value,)))


def test_a_template_of_the_project_s_own_replaces_ours_and_cannot_print_a_bare_value(tmp_path: Path) -> None:
    own = tmp_path / "templates" / "compose" / "service.yaml.j2"
    own.parent.mkdir(parents=True)
    own.write_text("  {{ container.service | compose_text }}: {image: a}\n")
    assert "  llama: {image: a}\n" in files(CRES, None, tmp_path)["compose.yaml"]

    own.write_text("  {{ container.service | compose_text }}:\n    image: {{ container.image }}\n")
    with pytest.raises(
        DeclarationError, match=r"service.yaml.j2:2: this prints a value without an encoder.*compose_arg"
    ):
        files(CRES, None, tmp_path)

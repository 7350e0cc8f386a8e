"""Hole 4: variables made of secrets are put together where the program starts, byte for byte."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provision.agent.launch import quote
from provision.errors import UnencodableValue
from provision.manifests import render_lanes
from provision.manifests.compose import files as compose_files
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.secret_values import secret_refusals
from provision.manifests.value import LONGEST_STRING
from provision.platforms import face
from provision.project.finish import finish
from provision.project.schema import Declaration, Project
from provision.project.service import Lane
from provision.project.template import Known
from tests.manifests.projects import dollars_doubled, install
from tests.manifests.test_launcher import SHELLS
from tests.manifests.values import ECHO, Echo, examples, texts

IMAGE = "ghcr.io/acme/cres@sha256:" + "0" * 64


def project(
    env: dict[str, str], path: Path = Path("/srv/cres"), platform: str = "supervisord", **more: object
) -> Project:
    """One service whose secrets are A and B."""
    web = {"command": ECHO, "secrets": ["A", "B"], "env": env, "image": IMAGE, "port": 8000, **more}
    here = {"hosts": ["h"], "path": str(path), "platform": platform}
    written = {"project": {"name": "cres"}, "services": {"web": web}, "targets": {"here": here}}
    return finish(Declaration.model_validate(written, context=Known({}, frozenset({"A", "B", "KEY"}))))


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@examples(15)
@given(a=texts(), b=texts(), literals=st.tuples(texts(), texts(), texts()))
def test_the_launcher_puts_a_variable_together_byte_for_byte(
    shell: Sequence[str], a: str, b: str, literals: tuple[str, str, str]
) -> None:
    before, between, after = map(dollars_doubled, literals)
    env = {"URL": f"{before}${{A}}{between}${{B}}{after}", "COPY": "${A}", "ALSO": "${B}${B}"}

    with tempfile.TemporaryDirectory() as folder:
        declared = project(env, Path(folder))
        service = render_lanes(declared, declared.targets["here"], models={})[Lane.STABLE]["services"][0]
        launcher = install(service, Path(folder))
        Path(launcher).with_name("secrets").write_text(
            f"export A={quote(a)}\nexport B={quote(b)}\n", encoding="utf-8", newline=""
        )
        done = subprocess.run(
            [*shell, launcher], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
        )

    told = Echo.of(done.stdout).env
    assert told["URL"] == literals[0] + a + literals[1] + b + literals[2]
    assert (told["COPY"], told["ALSO"], told["A"]) == (a, b + b, a)


def test_a_shell_of_compose_puts_it_together_too(tmp_path: Path) -> None:
    a, b = 'it\'s "$HOME" `id` \\ %\n\n', "b"
    declared = project({"URL": "x$$HOME '${A}'\n${B}${A}", "PLAIN": "p"})
    entrypoint = yaml.safe_load(compose_files(declared, None, tmp_path)["compose.yaml"])["services"]["web"][
        "entrypoint"
    ]
    words = [word.replace("$$", "$").replace("/run/secrets", str(tmp_path)) for word in entrypoint]
    (tmp_path / "A").write_text(a)
    (tmp_path / "B").write_text(b)

    done = subprocess.run(words, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)

    assert Echo.of(done.stdout).env["URL"] == f"x$HOME '{a}'\n{b}{a}"


def test_kubernetes_is_told_which_secrets_to_put_in_and_to_read_nothing_else() -> None:
    declared = project({"URL": "u:${A}@$$(B)$$$$x${B}", "PLAIN": "p"})

    objects = [*yaml.safe_load_all(render_kubernetes(declared)["stable/web.yaml"])]

    pod = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    env = pod["containers"][0]["env"]
    assert [entry["name"] for entry in env] == ["A", "B", "URL"], "a variable names those before it alone"
    assert env[-1] == {"name": "URL", "value": "u:$(A)@$$(B)$$$$x$(B)"}
    assert next(each for each in objects if each["kind"] == "ConfigMap")["data"] == {"PLAIN": "p"}


@pytest.mark.parametrize("platform", ["lambda", "cloud-function"])
def test_what_puts_nothing_together_refuses_by_name(platform: str, tmp_path: Path) -> None:
    declared = project({"URL": "u:${KEY}@"}, secrets=["KEY"], serverless={"entry": "app:main"})

    with pytest.raises(
        UnencodableValue, match=r"made of the secret KEY, .* \.env, and name that in secrets"
    ) as refused:
        face(platform).files(declared, None, tmp_path)

    assert refused.value.subject == "services.web.env.URL"


@pytest.mark.parametrize(
    ("env", "reason"),
    [({"UID": "${A}"}, "a shell keeps UID for itself"), ({"_": "x${A}"}, "a shell keeps _ for itself")],
)
def test_what_only_env_1_could_set_is_refused_for_its_arguments_are_seen(env: dict[str, str], reason: str) -> None:
    declared = project(env)

    with pytest.raises(UnencodableValue, match=reason):
        render_lanes(declared, declared.targets["here"], models={})


def test_a_variable_that_has_no_room_for_its_secrets_is_refused() -> None:
    half = "x" * (LONGEST_STRING // 2)

    refused = [*secret_refusals(project({"URL": "${A}${B}"}), {"A": half, "B": half})]

    assert [each.subject for each in refused] == ["services.web.env.URL"]
    assert "xx" not in refused[0].reason


def test_a_launcher_of_the_project_s_own_that_leaves_it_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher/launch.sh.j2").write_text("#!/bin/sh\nexec true\n")
    declared = project({"URL": "u:${A}@"})

    with pytest.raises(UnencodableValue, match=r"take the lines on launcher\.composed over"):
        render_lanes(declared, declared.targets["here"], models={}, overrides=tmp_path)

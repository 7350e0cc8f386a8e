"""A template prints what an encoder made, or nothing at all."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeclarationError, UnencodableValue
from provision.manifests.compose.stack import Container, Stack
from provision.manifests.control import Control
from provision.manifests.dockerfile.recipe import Recipe
from provision.manifests.encoders import ENCODERS, ENV_ENCODERS
from provision.manifests.kubernetes.bundle import Bundle, render_kubernetes
from provision.manifests.kubernetes.workload import Workload
from provision.manifests.launcher import Launcher
from provision.manifests.monitoring import Monitoring
from provision.manifests.nginx import Site
from provision.manifests.programs import Program
from provision.manifests.serverless.functions import Function, Functions
from provision.manifests.templates import packaged, render
from provision.manifests.ufw import Firewall
from provision.manifests.value import AtStart, Format, Value, Variable
from tests.manifests.kubernetes.projects import CRES

VALUE = Value("services.web.env.A", ("it's $5",))


def rendered(text: str, folder: Path, name: str = "launcher/test.j2", **context: object) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return render(name, folder, **context)


@pytest.mark.parametrize(
    "text",
    [
        "{{ value }}",
        "{{ value.text }}",
        "{{ 'literal' }}",
        "{{ 5 }}",
        "{{ value.text | upper }}",
        "{{ value | shell_arg | upper }}",
        "{{ 'x' ~ (value | shell_arg) }}",
        "{{ (value | shell_arg) + 'x' }}",
        "{{ [value, value] | map('shell_arg') | join(' ') }}",
        "{{ value.text | safe }}",
        "{% set copy = value.text %}{{ copy }}",
        "{% for letter in value.text %}{{ letter }}{% endfor %}",
        "{% macro quoted() %}{{ caller() }}{% endmacro %}{% call quoted() %}{{ value.text }}{% endcall %}",
        "{{ value.text if value else '' }}",
        "{{ none }}",
    ],
)
def test_printing_without_an_encoder_is_an_error_with_file_and_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as refused:
        rendered(f"first line\n{text}\n", tmp_path, value=VALUE)

    assert str(refused.value).startswith(f"{tmp_path}/launcher/test.j2:2: this prints a value without an encoder: add")
    assert "| shell_arg" in str(refused.value)


@pytest.mark.parametrize("format_", Format)
def test_no_format_prints_a_value_without_an_encoder_of_its_own(format_: Format, tmp_path: Path) -> None:
    with pytest.raises(
        DeclarationError, match=f"{format_}/test.j2:1: this prints a value without an encoder: add one of"
    ):
        rendered("{{ value }}", tmp_path, f"{format_}/test.j2", value=VALUE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ missing | shell_arg }}", "'missing' is undefined"),
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ value.nothing | shell_arg }}", "has no attribute 'nothing'"),
        ("{% if missing %}{% endif %}", "'missing' is undefined"),
        ("{{ value | systemd_arg }}", "No filter named 'systemd_arg'"),
        ("{{ value | supervisor_arg }}", "No filter named 'supervisor_arg'"),
        ("{{ value | shell_env }}", "takes an environment variable, not a Value"),
        ("{{ [1] | shell_arg }}", "takes a value, a text or a number, not a list"),
        ("{{ true | plain }}", "not a bool"),
        ("{% filter upper %}{{ value | shell_arg }}{% endfilter %}", "a filter block would change encoded text"),
        ("{% if %}", "Expected an expression"),
        ("{{ value | shell_arg", "unexpected end of template"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as refused:
        rendered(f"first line\n{text}\n", tmp_path, value=VALUE)

    assert f"{tmp_path}/launcher/test.j2:2: " in str(refused.value)
    assert told in str(refused.value)


def test_a_template_that_includes_nothing_that_exists_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"launcher/nothing\.j2"):
        rendered('{% include "launcher/nothing.j2" %}', tmp_path)


def test_encoded_values_are_printed_as_the_encoder_made_them(tmp_path: Path) -> None:
    text = '{{ value | shell_arg }} {{ variable | shell_env }} {{ 7 | plain }} {{ "x y" | shell_arg }}\n'

    assert (
        rendered(text, tmp_path, value=VALUE, variable=Variable("A", VALUE))
        == "'it'\\''s $5' A='it'\\''s $5' 7 'x y'\n"
    )


@pytest.mark.parametrize("text", ["a b", "a;b", "$", "%", "é", "a\nb", "'"])
def test_plain_takes_only_what_means_the_same_everywhere(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnencodableValue, match="is not plain"):
        rendered("{{ value | plain }}", tmp_path, value=Value("x", (text,)))


@pytest.mark.parametrize("name", ["supervisord/test.j2", "systemd/test.j2"])
def test_cpus_can_stand_in_a_launcher_alone(name: str, tmp_path: Path) -> None:
    threads = Value("services.llama.command", ("-t", AtStart.CPUS))

    with pytest.raises(UnencodableValue, match=r"services.llama.command: \$\{cpus\} is counted on the host"):
        rendered("{{ value | plain }}", tmp_path, name, value=threads)


def test_a_template_changed_in_place_with_its_size_and_time_kept_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "systemd" / "mine.j2"
    file.parent.mkdir()
    file.write_text("one")
    assert render("systemd/mine.j2", tmp_path) == "one"
    before = file.stat()

    time.sleep(0.02)  # kernels keep the time of a status by ticks
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert render("systemd/mine.j2", tmp_path) == "two"


def test_our_own_templates_are_used_where_the_project_has_none(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "mine.j2").write_text('{% include "systemd/sandbox-user.j2" %}')

    assert "NoNewPrivileges=yes" in render("systemd/mine.j2", tmp_path)


@pytest.mark.parametrize(
    "context",
    [
        Launcher,
        Program,
        Control,
        Site,
        Firewall,
        Monitoring,
        Stack,
        Container,
        Recipe,
        Functions,
        Function,
        Workload,
        Bundle,
    ],
)
def test_the_context_is_documented_field_by_field_with_its_types(context: Any) -> None:
    readme = (packaged() / "README.md").read_text()
    section = readme.split(f"## `{context.__name__.lower()}`\n")[1].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.replace("\\|", "¦").splitlines() if line.startswith("| `")]

    documented = [(row[0].strip("| `"), row[1].strip("`").replace("¦", "|")) for row in rows]

    assert documented == [(field.name, field.type) for field in dataclasses.fields(context)]


def test_the_documented_example_of_a_template_does_what_is_said_of_it(tmp_path: Path) -> None:
    example = (packaged() / "README.md").read_text().split("### For example\n")[1].partition("\n## ")[0]
    wrong = next(line for line in example.splitlines() if "priorityClassName" in line)
    right = re.findall(r"`(\{\{.*?\}\})`", example)[0]
    own = tmp_path / "kubernetes" / "pod.yaml.j2"
    own.parent.mkdir()
    ours = (packaged() / "kubernetes" / "pod.yaml.j2").read_text()

    own.write_text(ours.replace("    spec:\n", f"    spec:\n{wrong}\n", 1))
    with pytest.raises(DeclarationError) as refused:
        render_kubernetes(CRES, overrides=tmp_path)
    said = "kubernetes/pod.yaml.j2:5: this prints a value without an encoder"
    assert said in str(refused.value)
    assert f"`templates/{said}`" in example

    own.write_text(ours.replace("    spec:\n", f"    spec:\n      priorityClassName: {right}\n", 1))
    assert "priorityClassName: batch\n" in render_kubernetes(CRES, overrides=tmp_path)["stable/migrate.yaml"]


def test_every_template_and_every_encoder_is_documented() -> None:
    readme = (packaged() / "README.md").read_text()

    templates = [path.relative_to(packaged()).as_posix() for path in packaged().rglob("*.j2")]
    encoders = [encode.__name__ for table in (ENCODERS, ENV_ENCODERS) for each in table.values() for encode in each]

    assert [name for name in (*templates, *encoders) if f"`{name}`" not in readme] == []

"""Any value arrives as it was declared."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provision.errors import DeclarationError, UnencodableValue
from provision.manifests.encoders.kubernetes import k8s_arg, k8s_number, k8s_text
from provision.manifests.kubernetes import render_kubernetes
from provision.manifests.kubernetes.objects import parse_objects
from provision.manifests.templates import render
from provision.manifests.value import Value
from tests.manifests.kubernetes.projects import project
from tests.manifests.projects import dollars_doubled
from tests.manifests.values import BATCH, batches, examples, texts

KUBECTL = Path(sys.executable).with_name("kubectl")
LOST = re.compile("[\\x7f-\\x9f\\ufffe\\uffff]")
held = texts().map(lambda text: LOST.sub("", text))  # what kustomize cannot carry is refused, see below
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True) | st.sampled_from(["y", "NO", "null", "_", "ON"])


def expanded(word: str, environment: dict[str, str]) -> str:
    """Kubernetes API, Container.command: `$(NAME)` is the variable if there is one, else stays; `$$` is one `$`."""

    def replace(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else environment.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, word, flags=re.DOTALL)


@given(st.lists(held, min_size=1, max_size=4), st.dictionaries(names, held, max_size=4))
@settings(max_examples=500)
@example(["a", "$(A)", "$$(A)", "$", "$$", "$($(A))"], {"A": "$(A)", "y": "yes", "B": "1e3", "C": "0o7"})
def test_commands_and_variables_come_back_byte_for_byte(words: list[str], variables: dict[str, str]) -> None:
    declared = {
        "command": ["run", *map(dollars_doubled, words)],
        "env": {name: dollars_doubled(value) for name, value in variables.items()},
    }
    objects = {
        each.kind: each for each in parse_objects("x", render_kubernetes(project({"web": declared}))["stable/web.yaml"])
    }
    given_env = objects["ConfigMap"].at("data") if variables else {}
    (container,) = objects["Deployment"].pod["spec"]["containers"]  # type: ignore[index]

    assert given_env == variables
    assert [expanded(word, given_env) for word in container["command"]] == ["run", *words]


def kubectl_gives_back(values: list[str]) -> None:
    declared = {
        "command": ["run", *map(dollars_doubled, values)],
        "env": {f"V{at}": dollars_doubled(value) for at, value in enumerate(values)},
    }
    files = render_kubernetes(project({"web": declared}))
    with TemporaryDirectory() as folder:
        for name in ("web.yaml", "kustomization.yaml"):
            (Path(folder) / name).write_text(files[f"stable/{name}"])
        done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = {each.kind: each for each in parse_objects("built", done.stdout.decode())}
    (container,) = objects["Deployment"].pod["spec"]["containers"]  # type: ignore[index]
    variables = objects["ConfigMap"].at("data")

    assert variables == {f"V{at}": value for at, value in enumerate(values)}
    assert [expanded(word, variables) for word in container["command"]] == ["run", *values]


@given(batches(held))
@examples(20)
@example(["="] * BATCH)
def test_kubectl_s_own_reader_gives_every_value_back(values: list[str]) -> None:
    """A thousand values, half of them as words: a process costs much, a value more in it nothing."""
    kubectl_gives_back(values)


@pytest.mark.slow
@given(batches(held))
@examples(400)
def test_kubectl_s_own_reader_gives_twenty_thousand_values_back(values: list[str]) -> None:
    kubectl_gives_back(values)


@given(held)
@settings(max_examples=500)
@example("1_000")
@example("12:30:45")
@example("2026-11-21")
@example("=")
@example("<<")
@example("~")
@example("")
def test_a_text_stays_a_text_with_quotes_or_without(value: str) -> None:
    assert yaml.safe_load(f"a: {k8s_text(Value('x', (value,)))}") == {"a": value}
    assert yaml.load(f"a: {k8s_text(Value('x', (value,)))}", yaml.BaseLoader) == {"a": value}


@pytest.mark.parametrize("value", ["yes", "No", "on", "null", "y", "1e3", "0x1", "1.0", "-", ".inf", "a: b", "a #b"])
def test_what_a_reader_would_take_for_something_else_stands_in_quotes(value: str) -> None:
    assert k8s_text(Value("x", (value,))) == f'"{value}"'


@pytest.mark.parametrize("value", ["1e3", "0x1", "-1", "08", "", "1_0", "a"])
def test_a_number_is_a_number_for_everybody(value: str) -> None:
    with pytest.raises(UnencodableValue, match="is no number"):
        k8s_number(Value("x", (value,)))


@pytest.mark.parametrize("encode", [k8s_text, k8s_arg])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\0", "NUL"),
        ("\ud800", "half a character"),
        *((f"a{character}", r"kustomize cannot carry U\+00[789]") for character in "\x7f\x80\x85\x9f"),
        ("\ufffe", r"kustomize cannot carry U\+FFFE"),
        ("\uffff", r"kustomize cannot carry U\+FFFF"),
    ],
)
def test_what_no_process_can_be_given_is_refused(encode: Callable[[Value], str], value: str, reason: str) -> None:
    with pytest.raises(UnencodableValue, match=f"services.web.command.*{reason}"):
        encode(Value("services.web.command", (value,)))


def test_a_value_without_an_encoder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "kubernetes" / "mine.yaml.j2").write_text("a: {{ name }}\n")

    with pytest.raises(DeclarationError, match=r"mine.yaml.j2:1: this prints a value without an encoder.*k8s_text"):
        render("kubernetes/mine.yaml.j2", tmp_path, name="x")

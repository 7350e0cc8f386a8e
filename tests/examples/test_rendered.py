"""Each example, as it lies there, for every platform that makes sense for it, judged by who reads the files.

Nothing is built yet, so images have the names that people give them; a warning says what to write instead.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from provision.cli.main import main
from provision.manifests.kubernetes.objects import parse_objects
from tests.manifests.compose.composer import config

EXAMPLES = Path(__file__).parents[2] / "examples"
KUBECTL = Path(sys.executable).with_name("kubectl")
# What else each is for: its targets' supervisors, and what it declares.
PLATFORMS = {
    "minimal": {"supervisord": "", "dockerfile": "", "ufw": ""},
    "model": {"supervisord": "", "monitoring": "", "ufw": ""},
    "rlm-runtime": {"supervisord": "", "systemd": "", "monitoring": "", "dockerfile": "", "ufw": ""},
    "rollout-server": {"supervisord": "", "systemd": "", "monitoring": "", "nginx": "", "dockerfile": "", "ufw": ""},
    "vast-stack": {"supervisord": "sandbox", "monitoring": "", "dockerfile": "", "ufw": ""},
}
# Those for containers; `model` is for hosts, and without its lock nobody knows what a container would fetch.
IMAGES = {
    "minimal": "minimal:latest",
    "rlm-runtime": "rlm-runtime:latest",
    "rollout-server": "rollout-server:latest",
    "vast-stack": "cres:latest",
}


def test_no_example_is_left_out() -> None:
    assert {place.name for place in EXAMPLES.iterdir() if (place / "deploy.toml").exists()} == set(PLATFORMS)


def render(name: str, platform: str, *words: str) -> tuple[str, str]:
    """What `deploy render` says on stdout, and beside it, in the example's folder."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(EXAMPLES / name), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(["render", platform, *words])
    assert status == 0, errors.getvalue()
    return output.getvalue(), errors.getvalue()


@pytest.mark.parametrize(("name", "platform"), [(name, each) for name, those in PLATFORMS.items() for each in those])
def test_it_renders_for_its_other_platforms(name: str, platform: str) -> None:
    target = PLATFORMS[name][platform]

    assert render(name, platform, *(["--target", target] if target else []))[0]


@pytest.mark.parametrize("name", IMAGES)
def test_compose_reads_it(name: str, tmp_path: Path) -> None:
    text, said = render(name, "compose")

    services: dict[str, Any] = config(text, tmp_path)["services"]
    assert IMAGES[name] in {each["image"] for each in services.values()}
    assert f'"{IMAGES[name]}"' in said


@pytest.mark.parametrize("name", IMAGES)
def test_a_cluster_takes_it(name: str, tmp_path: Path) -> None:
    render(name, "kubernetes", "--out", str(tmp_path))

    objects = [
        each
        for file in sorted(tmp_path.rglob("*.yaml"))
        for each in parse_objects(str(file.relative_to(tmp_path)), file.read_text())
    ]
    for each in objects:
        kubernetes_validate.validate(each.body, "1.34", strict=True)
    images = {each.pod["spec"]["containers"][0]["image"] for each in objects if each.pod}
    assert IMAGES[name] in images
    overlay = tmp_path / "overlays" / "production"
    built = subprocess.run([KUBECTL, "kustomize", overlay], capture_output=True, text=True, check=True)
    kinds = [each["kind"] for each in yaml.safe_load_all(built.stdout)]
    assert kinds.count("Deployment") >= 1


@pytest.mark.parametrize("name", IMAGES)
def test_every_tag_is_warned_of_at_its_place_and_nothing_with_a_digest(name: str) -> None:
    text, said = render(name, "kubernetes")

    written = set(re.findall(r'(?m)^ +image: "?([^"\s]+)', text))
    warned = set(re.findall(r'deploy\.toml:\d+:\d+: [\w.-]+: "([^"]+)" (?:may be|is written)', said))
    assert warned == {image for image in written if "@sha256:" not in image}

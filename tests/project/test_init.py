"""`deploy init` proposes what it finds, and what it writes loads."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import DeclarationError, UsageError
from provision.project import load
from provision.project.init import Answers, propose, slug, text, write

ROOT = Path(__file__).parents[2]
CASES = yaml.safe_load(Path(__file__).with_name("init_cases.yaml").read_text())

VARIABLES = {"VAST_HOST": "1.2.3.4", "VAST_PORT": "22", "VAST_SSH_KEY": "~/.ssh/id"}


def lay_out(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_project_gets_its_packages_and_a_service_with_its_command_port_and_check(
    case: dict[str, Any], tmp_path: Path
) -> None:
    lay_out(tmp_path, case["files"])

    answers = propose(tmp_path)
    write(tmp_path, answers)

    written = tomllib.loads((tmp_path / "deploy.toml").read_text())
    assert written["services"] == case["services"]
    assert written.get("python") == case.get("python")
    assert [*answers.notes] == case.get("notes", [])
    load(tmp_path, environ=VARIABLES)


@pytest.mark.parametrize("files", [{}, {"main.rs": "fn main() {}"}, {"index.html": "<p>", "secrets.txt": "x"}])
def test_where_nothing_starts_the_command_is_left_to_be_said_and_no_folder_is_served(files, tmp_path):
    lay_out(tmp_path, files)

    answers = propose(tmp_path)
    write(tmp_path, answers)

    assert [*answers.notes] == ["nothing was found that starts here: say what does, as the command of services.web"]
    with pytest.raises(DeclarationError) as refusal:
        load(tmp_path, environ=VARIABLES)
    (problem,) = map(str, refusal.value.problems)
    assert problem.endswith(
        ':7:11: services.web.command: missing. Give one, such as command = ["python3", "-m", "app"], or a preset.'
    )


def test_an_app_a_model_a_worker_and_packages_are_found(tmp_path):
    folder = tmp_path / "My_Shop"
    lay_out(
        folder,
        {
            "src/api/main.py": "import fastapi\n\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n",
            "src/backend/worker.py": "",
            "models/x.gguf": "",
            ".venv/lib/other.py": "app = FastAPI()\n",
            "tests/app.py": "app = FastAPI()\n",
            "requirements.txt": "uvicorn\n",
        },
    )

    found = propose(folder)

    assert found.name == "my-shop"
    write(folder, found)
    project = load(folder, environ=VARIABLES).project
    assert list(project.services) == ["llama", "fastapi", "worker"]
    assert project.services["fastapi"].command[3].text == "src.api.main:api"
    assert project.services["worker"].command[2].text == "src.backend.worker"
    assert project.python is not None


def test_a_host_of_ones_own_needs_no_variables(tmp_path):
    shop = Answers(name="shop", model="x.gguf", host="me@gpu.example.net", platform="systemd", path="/srv/shop")
    write(tmp_path, shop)

    target = load(tmp_path, environ={}).project.targets["host"]
    assert (target.hosts[0].text, target.platform, target.path) == ("me@gpu.example.net", "systemd", "/srv/shop")


def test_containers_are_of_the_image_that_was_named(tmp_path):
    (tmp_path / "app.py").write_text("app = FastAPI()\n")
    (tmp_path / "tiny.gguf").touch()
    (tmp_path / "requirements.txt").touch()
    image = "ghcr.io/me/shop@sha256:" + "4f1c" * 16
    write(tmp_path, replace(propose(tmp_path), host="me@gpu.example.net", platform="docker", image=image))

    project = load(tmp_path, environ={}).project
    assert (project.image, project.targets["host"].platform) == (image, "docker")


@pytest.mark.parametrize("answers", [{"platform": "docker"}, {"image": "ghcr.io/me/shop@sha256:" + "0" * 64}])
def test_containers_without_an_image_are_refused_and_so_is_an_image_without_containers(answers, tmp_path):
    with pytest.raises(UsageError, match="docker goes with an image") as refusal:
        write(tmp_path, Answers(name="shop", **answers))

    assert "--image" in refusal.value.next_step
    assert not (tmp_path / "deploy.toml").exists()


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "deploy.toml").write_text("mine")

    with pytest.raises(UsageError, match="exists already"):
        write(tmp_path, Answers(name="shop"))

    assert (tmp_path / "deploy.toml").read_text() == "mine"


@given(st.text())
def test_any_folder_gives_a_name_that_a_project_may_have(name):
    assert tomllib.loads(text(Answers(name=slug(name))))["project"]["name"] == slug(name)
    assert slug(slug(name)) == slug(name)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: "\0" not in text))
def test_any_file_name_stands_in_the_file_as_it_is(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("init")
    write(folder, Answers(name="shop", model=f"models/{model}".replace("..", "")))

    assert load(folder, environ=VARIABLES).project.services["llama"].model == f"models/{model}".replace("..", "")


def test_what_runs_on_a_sandbox_lies_in_its_home_and_nowhere_else_here(tmp_path):
    """Hole 1: /workspace and /tmp were proposed for a host that is this very machine, where others may have them."""
    write(tmp_path, Answers(name="shop", model="x.gguf", host="sandbox"))

    loaded = load(tmp_path, environ=VARIABLES)

    (target,) = loaded.project.targets.values()
    assert target.path == f"{tmp_path.resolve()}/.deploy/sandbox/home/shop"
    for example in (ROOT / "examples").glob("*/deploy.toml"):
        assert '"/tmp' not in example.read_text().replace(":-/tmp", '"/tmp'), example


@pytest.mark.parametrize(
    ("answers", "stands"),
    [
        (Answers(name="shop", model="x.gguf"), True),
        (Answers(name="shop", model="x.gguf", platform="systemd", host="me@gpu.example.net"), True),
        (Answers(name="shop", model="x.gguf", traffic=False), False),
        (Answers(name="shop", model="x.gguf", platform="docker", image="ghcr.io/me/shop@sha256:" + "0" * 64), False),
        (Answers(name="shop"), False),
    ],
    ids=["a model on a rented machine", "on systemd", "where no HAProxy can be had", "in containers", "nothing yet"],
)
def test_a_new_project_has_haproxy_before_what_takes_the_port_that_it_is_told(answers, stands, tmp_path):
    write(tmp_path, answers)

    (target,) = tomllib.loads((tmp_path / "deploy.toml").read_text())["targets"].values()
    assert ("traffic" in target) is stands
    if answers.model:
        (loaded,) = load(tmp_path, environ=VARIABLES).project.targets.values()
        assert (loaded.traffic is not None) is stands


def test_a_script_with_a_port_of_its_own_has_nothing_before_it(tmp_path):
    serve = 'HTTPServer(("0.0.0.0", 9123), SimpleHTTPRequestHandler).serve_forever()'
    (tmp_path / "main.py").write_text(f"from http.server import HTTPServer, SimpleHTTPRequestHandler\n{serve}\n")
    write(tmp_path, propose(tmp_path))

    (target,) = load(tmp_path, environ=VARIABLES).project.targets.values()
    assert target.traffic is None

"""The house of docs/architecture.md: who may import whom, and what may be heavy."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def test_every_import_follows_the_rules_of_the_house():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_an_arrow_upward_is_noticed(tmp_path):
    """The rules are only worth something if breaking one is seen."""
    house = tmp_path / "provision"
    for package in (
        "",
        "project",
        "engines",
        "tasks",
        "cli",
        "page",
        "rollout",
        "targets",
        "hosts",
        "images",
        "providers",
        "cluster",
        "models",
        "manifests",
        "platforms",
        "release",
        "agent",
        "contract",
    ):
        (house / package).mkdir(parents=True, exist_ok=True)
        (house / package / "__init__.py").touch()
    (house / "plan.py").touch()
    (house / "project" / "__init__.py").write_text("import provision.cli\n")
    config = tmp_path / "rules.toml"
    rules = (_ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2].split("[[tool.importlinter")
    config.write_text('[tool.importlinter]\nroot_packages = ["provision"]\n\n[[tool.importlinter' + rules[1])

    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache", "--config", config], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "provision.project is not allowed to import provision.cli" in done.stdout


def test_the_on_host_runtime_needs_nothing_of_the_toolkit():
    program = "import sys, bitnet; print(*(name for name in sys.modules if name.split('.')[0] == 'provision'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

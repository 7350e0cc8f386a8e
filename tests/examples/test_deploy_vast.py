"""deploy_vast.py against a host as Vast.ai rents them: root, supervisord, a key that nobody knows yet."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def rented(supervisord_host, place, tmp_path):
    """A project for the instance in .env, and `python deploy_vast.py …` in its folder."""
    port = place.port()
    shutil.copy(_ROOT / "examples" / "minimal" / "app.py", tmp_path)
    (tmp_path / "deploy.toml").write_text(
        f"""\
[project]
name = "{place.name}"

[services.web]
command = ["python3", "app.py", "${{listen}}", "${{port}}"]
port = {port}
check = {{ http = "/health" }}

[targets.vast]
hosts = ["root@${{VAST_HOST}}:${{VAST_PORT}}"]
identity = "${{VAST_SSH_KEY}}"
path = "{place.path}"
name_prefix = "{place.name}-"
"""
    )
    (tmp_path / ".env").write_text(
        f"VAST_HOST={supervisord_host.address}\nVAST_PORT=22\nVAST_SSH_KEY='{supervisord_host.identity}'\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VAST_")}

    def run(*words):
        return subprocess.run(
            [sys.executable, _ROOT / "deploy_vast.py", *words],
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    run.port = port
    run.folder = tmp_path
    return run


def test_a_new_instance_is_not_believed_until_somebody_says_so_and_then_serves(rented, supervisord_host):
    refused = rented()
    assert refused.returncode == 4
    assert "nobody is there to confirm it." in refused.stderr
    assert "python deploy_vast.py --trust" in refused.stderr

    done = rented("--trust")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"-L {rented.port}:127.0.0.1:{rented.port}" in done.stdout
    assert supervisord_host.address in (rented.folder / "known_hosts").read_text()
    health = supervisord_host.exec(["curl", "-fsS", f"http://127.0.0.1:{rented.port}/health"])
    assert health.returncode == 0

    again = rented()
    assert again.returncode == 0, again.stderr
    assert "unchanged, nothing to do" in again.stderr


def test_a_copy_of_the_example_env_that_nobody_filled_in_is_told_by_its_variables(tmp_path):
    """The second command of the README, done literally."""
    shutil.copy(_ROOT / ".env.example", tmp_path / ".env")
    done = subprocess.run(
        [sys.executable, _ROOT / "deploy_vast.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("VAST_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "targets.vast.hosts[0]: ${VAST_HOST} and ${VAST_PORT} are empty: fill them in in .env." in done.stderr


@pytest.mark.parametrize("missing", ["VAST_HOST", "VAST_PORT", "VAST_SSH_KEY"])
def test_a_variable_that_is_missing_is_named(rented, missing):
    env = rented.folder / ".env"
    env.write_text("".join(line for line in env.read_text().splitlines(keepends=True) if missing not in line))
    done = rented()
    assert done.returncode == 2
    assert missing in done.stderr
    assert "deploy.toml:" in done.stderr

"""The example's folder of the RLM runtime, as its users build and compose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents.rlm_service import EXAMPLE
from tests.images.build import conftest as of_images
from tests.images.build.make import BASE
from tests.testbed.docker import Engine

engine = of_images.engine


# What `docker build .` would fetch, and can't where tests run: the base, and what pip installs.
_PIP = """\
#!/bin/sh
mkdir -p /install/bin
printf '#!/bin/sh\\necho rlm "$@"\\n' >/install/bin/rlm
chmod 755 /install/bin/rlm
"""


@pytest.mark.slow
def test_the_examples_folder_builds_as_it_lies_there_and_serves_whoever_starts_it(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "pip").write_text(_PIP)
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nCOPY pip /usr/bin/pip\nRUN chmod 755 /usr/bin/pip\n")
    engine.client.images.build(path=str(tmp_path), tag="python:3.11-slim")
    image, _ = engine.client.images.build(path=str(EXAMPLE), tag="rlm-runtime:latest")

    config = image.attrs["Config"]
    assert (config["User"], config["Cmd"], config["Entrypoint"]) == ("1000:1000", ["mcp-serve"], ["/entrypoint.sh"])
    assert {"8080/tcp", "8000/tcp"} == set(config["ExposedPorts"])
    assert set(config["Volumes"]) == {"/app/logs"}
    assert {"RLM_LOG_DIR=/app/logs", "RLM_DOCKER_MEMORY=512m", "RLM_DOCKER_CPUS=1.0"} <= set(config["Env"])

    def said(**how: Any) -> str:
        container = engine.client.containers.run("rlm-runtime:latest", detach=True, network_mode="none", **how)
        try:
            container.wait(timeout=120)
            return container.logs().decode()
        finally:
            container.remove(force=True, v=True)

    assert "/app/src/server.py" in said()  # as far as it gets without packages
    assert said(stdin_open=True) == "rlm mcp-serve\n"
    assert said(command=["worker"]).count("/app/src/worker.py") == 1
    assert said(command=["sh", "-c", "id -u; touch /app/logs/a; ls src | grep -c py"]).split()[0] == "1000"


def test_compose_has_what_the_guide_has() -> None:
    declared = yaml.safe_load((EXAMPLE / "docker-compose.yml").read_text())["services"]["rlm"]

    assert (declared["build"], declared["ports"], declared["volumes"]) == (".", ["8080:8080"], ["rlm-logs:/app/logs"])
    assert declared["deploy"]["resources"] == {"limits": {"memory": "2G"}, "reservations": {"memory": "1G"}}
    environment = dict(each.partition("=")[::2] for each in declared["environment"])
    assert environment["RLM_LOG_DIR"] == "/app/logs"
    assert (environment["RLM_DOCKER_MEMORY"], environment["RLM_DOCKER_CPUS"]) == ("1g", "2.0")

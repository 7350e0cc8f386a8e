"""What the programs say that read these files: each of them asked once, about all that was reviewed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from provision.contract.grouping import target_unit
from tests.manifests.compose.composer import config
from tests.manifests.nginx.server import complaints, install
from tests.manifests.presets.renders import reviewed
from tests.manifests.supervisors import supervisord

SHOWN = {
    platform: reviewed(platform)
    for platform in (
        *("supervisord", "systemd", "compose", "kubernetes", "nginx", "ufw", "monitoring", "dockerfile"),
        *("lambda", "cloud-function"),
    )
}
# Besides the presets: what the tests of each format have had reviewed.
MANIFESTS = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **more)


def passes(*command: str | Path, cwd: Path | None = None) -> None:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def lay(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def everywhere(folder: Path, *platforms: str, ending: str) -> list[Path]:
    """The files of these platforms that end so, of all projects; and those in the folders of the formats."""
    for platform in platforms:
        for project, files in SHOWN[platform].items():
            lay({f"{platform}/{project}/{name}": text for name, text in files.items()}, folder)
    return [*sorted(folder.rglob(f"*{ending}")), *sorted(MANIFESTS.glob(f"*/golden/**/*{ending}"))]


def test_supervisord_takes_every_program(tmp_path: Path) -> None:
    """By its own reader, in a daemon that runs; nothing is started."""
    programs: dict[str, str] = {}
    for project, files in SHOWN["supervisord"].items():
        for name, text in files.items():
            if name.endswith(".conf"):
                # Several projects on one machine have prefixes; and their folders and accounts are not here.
                text = re.sub(r"(?m)^\[program:", f"[program:{project}-", text)
                text = re.sub(r"(?m)^user = .*", "user = nobody", text)
                programs[f"{project}-{name}"] = re.sub(
                    r"(?m)^stdout_logfile = .*/", f"stdout_logfile = {tmp_path}/", text
                ).replace("autostart = true", "autostart = false")
    with supervisord(tmp_path / "supervisord") as daemon:
        daemon.load(programs)
        known = {each["name"] for each in daemon.rpc.getAllProcessInfo()}

    assert known == {re.findall(r"(?m)^\[program:(.*)\]", text)[0] for text in programs.values()}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every unit, where systemd finds what it refers to; its programs are there."""
    folder = tmp_path_factory.mktemp("units")
    files = {name: text for files in SHOWN["systemd"].values() for name, text in files.items() if "/" not in name}
    assert len(files) == sum(name.count("/") == 0 for files in SHOWN["systemd"].values() for name in files)
    files |= {file.name: file.read_text() for file in (MANIFESTS / "golden" / "systemd").iterdir()}
    files["cres.target"] = target_unit("cres.target", False)
    present = {name: re.sub(r"(?m)^(Exec\w+=)", r"\1/bin/true ", text) for name, text in files.items()}
    return sorted(lay(present, folder).iterdir())


def test_systemd_finds_nothing_wrong_with_a_unit(units: list[Path], tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{units[0].parent}:"}

    found = run("systemd-analyze", "verify", "--man=no", *units, env=environment)

    ours = [line for line in found.stderr.splitlines() if any(unit.name in line for unit in units)]
    assert (ours, found.returncode) == ([], 0), found.stderr


@pytest.mark.parametrize(("gpu", "exposure"), [(False, 2.0), (True, 3.0)])
def test_a_unit_leaves_little_exposed(units: list[Path], gpu: bool, exposure: float) -> None:
    services = [unit for unit in units if unit.suffix == ".service"]
    chosen = [unit for unit in services if ("DeviceAllow=char-nvidia rw" in unit.read_text()) is gpu]
    limit = f"--threshold={exposure * 10:.0f}"
    assert chosen

    judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", limit, *chosen)

    assert judged.returncode == 0, re.findall(r".*Overall exposure.*", judged.stdout)
    assert judged.stdout.count("Overall exposure level") == len(chosen)


@pytest.mark.parametrize("project", SHOWN["compose"])
def test_compose_takes_the_file(project: str, tmp_path: Path) -> None:
    text = SHOWN["compose"][project][""]

    assert set(config(text, tmp_path)["services"]) == set(yaml.safe_load(text)["services"])


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for project, files in SHOWN["kubernetes"].items():
        for name, text in files.items():
            for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if document["kind"] != "Kustomization":
                    yield f"{project}/{name}", document


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_every_object_passes_the_strict_schema(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads the same megabytes for each object, else.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    for _, document in objects():
        kubernetes_validate.validate(document, version, strict=True)


def test_kustomize_builds_every_overlay(tmp_path: Path) -> None:
    """All at once: names and namespaces of the projects differ."""
    for project, files in SHOWN["kubernetes"].items():
        lay(files, tmp_path / project)
    overlays = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/overlays/*"))
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": overlays}))

    done = run(BIN / "kubectl", "kustomize", tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(overlays) == 3 * len(SHOWN["kubernetes"])


def test_nginx_takes_all_sites_together(tmp_path: Path) -> None:
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    passes(*openssl, "-subj", "/CN=a", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "chain.pem")
    sites = {name: text for files in SHOWN["nginx"].values() for name, text in files.items()}
    placed = {name: re.sub(r"/etc/ssl/\w+", str(tmp_path), text) for name, text in sites.items()}

    done = run(*install(tmp_path, placed), "-t")

    assert done.returncode == 0, done.stderr
    # What it says of `user root;` is the test's own; a site that another one shadows it would say here, too.
    assert [line for line in complaints(done.stderr) if "[warn]" in line] == []


def test_prometheus_takes_every_scrape_and_rule(tmp_path: Path) -> None:
    for project, files in SHOWN["monitoring"].items():
        lay(files, tmp_path / project)
    configs, rules = sorted(tmp_path.glob("*/prometheus.yml")), sorted(tmp_path.glob("*/rules/*.yml"))

    passes("promtool", "check", "config", "--lint-fatal", "--syntax-only", *configs)
    passes("promtool", "check", "rules", "--lint-fatal", *rules)

    graphs = {
        f"graph:{project}:{panel['id']}".replace("-", "_"): panel["targets"][0]["expr"]
        for project, files in SHOWN["monitoring"].items()
        for name, text in files.items()
        if name.endswith(".json")
        for panel in json.loads(text)["panels"]
    }
    recorded = [{"record": name, "expr": query} for name, query in graphs.items()]
    (tmp_path / "graphs.yml").write_text(yaml.safe_dump({"groups": [{"name": "graphs", "rules": recorded}]}))
    passes("promtool", "check", "rules", tmp_path / "graphs.yml")


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    passes(BIN / "hadolint", "--no-color", *everywhere(tmp_path, "dockerfile", "lambda", ending="Dockerfile"))


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    scripts = everywhere(tmp_path, "ufw", "cloud-function", ending=".sh")
    launchers = everywhere(tmp_path / "launchers", "supervisord", "systemd", ending="")
    scripts += [file for file in launchers if file.parent.name == "launch" and file.is_file()]
    scripts += [file for file in (MANIFESTS / "golden" / "launcher").iterdir() if file.is_file()]

    # What a launcher reads is on the host alone.
    passes("shellcheck", "--exclude=SC1090,SC1091", *scripts)


def test_yamllint_finds_nothing(tmp_path: Path) -> None:
    # A file that is read by itself begins without ---; comments, images and commands are as long as they are.
    rules = YamlLintConfig("{extends: default, rules: {document-start: disable, line-length: disable}}")
    texts = {
        f"{platform}/{project}/{name or 'compose.yaml'}": text
        for platform, projects in SHOWN.items()
        for project, files in projects.items()
        for name, text in files.items()
        if platform == "compose" or name.endswith((".yaml", ".yml"))
    }
    for ending in (".yaml", ".yml"):
        texts |= {str(file): file.read_text() for file in everywhere(tmp_path / "none", ending=ending)}
    assert len(texts) > 100

    assert [(name, str(found)) for name, text in texts.items() for found in linter.run(text, rules)] == []


def test_python_compiles_every_handler() -> None:
    for platform in ("lambda", "cloud-function"):
        for files in SHOWN[platform].values():
            for name, text in files.items():
                if name.endswith(".py"):
                    compile(text, name, "exec")

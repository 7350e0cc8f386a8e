"""What is rendered for Prometheus and Grafana. Golden files: make golden"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from provision.errors import UsageError
from provision.manifests.encoders import json_text, yaml_text
from provision.manifests.monitoring import files
from provision.manifests.value import Value
from provision.project.presets import presets
from provision.project.schema import Project
from tests.manifests.projects import project
from tests.manifests.values import texts

GOLDEN = Path(__file__).parent / "golden"
SERVICES: dict[str, dict[str, Any]] = {
    "llama": {
        "command": ["llama-server"],
        "port": 8081,
        "secrets": ["LLAMA_API_KEY"],
        "resources": {"gpus": 1},
        "metrics": presets()["bitnet-server"]["metrics"],
    },
    "api": {
        "command": ["api"],
        "port": 8000,
        "proxy": {"upstreams": ["10.0.0.5", "2001:db8::5"]},
        "metrics": {
            "path": "/internal/metrics",
            "requests": "http_requests_total",
            "duration": "http_request_duration_seconds",
            "slow": "1500ms",
            "alerts": {
                "queue": {"when": 'rq_jobs{$self,queue="rlm"} > 50', "says": 'More than fifty "jobs" wait: 5 %'}
            },
        },
    },
    "worker": {"command": ["worker"]},
}
TARGET: dict[str, Any] = {"platform": "systemd", "name_prefix": "blue-"}


def rendered(services: dict[str, Any], **target: Any) -> dict[str, str]:
    declared = project(services, **target)
    return files(declared, declared.targets["there"], Path("/nowhere"))


FILES = rendered(SERVICES, **TARGET)


def written(folder: Path, made: dict[str, str]) -> Path:
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def promtool(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_as_reviewed(name: str) -> None:
    place = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN"):
        written(GOLDEN, {name: FILES[name]})

    assert FILES[name] == place.read_text()
    assert [line for line in FILES[name].split("\n") if line != line.rstrip()] == []


def test_prometheus_takes_the_scrapes_and_the_rules(tmp_path: Path) -> None:
    written(tmp_path, FILES)

    promtool(tmp_path, "check", "config", "--lint-fatal", "--syntax-only", "prometheus.yml")
    promtool(tmp_path, "check", "rules", "--lint-fatal", "rules/cres.yml")


def test_prometheus_takes_every_graph(tmp_path: Path) -> None:
    panels = json.loads(FILES["dashboards/cres.json"])["panels"]
    queries = [query["expr"] for panel in panels for query in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    promtool(tmp_path, "check", "rules", "panels.yml")

    assert [panel["title"] for panel in panels] == [
        "llama: Up",
        "llama: In flight",
        "llama: Memory, bytes",
        "llama: Cores in use",
        "llama: Tokens a second",
        "llama: Prompt tokens a second",
        "api: Up",
        "api: Answers a second, by status",
        "api: Seconds an answer takes",
        "api: Memory, bytes",
        "api: Cores in use",
    ]
    (latency,) = [panel for panel in panels if panel["title"] == "api: Seconds an answer takes"]
    assert [(line["refId"], line["legendFormat"]) for line in latency["targets"]] == [
        ("A", "p50"),
        ("B", "p95"),
        ("C", "p99"),
    ]


# What is seen for twenty minutes, and the alert that it gives. `ME` are the labels of the service.
SEEN = {
    "down": ({'up{project="cres",service="llama"}': "0x40"}, "LlamaDown"),
    "restarts": ({'process_start_time_seconds{project="cres",service="llama"}': "0+60x40"}, "LlamaRestarts"),
    "stalled": (
        {
            'llamacpp:requests_processing{project="cres",service="llama"}': "1x40",
            'llamacpp:n_decode_total{project="cres",service="llama"}': "7x40",
        },
        "LlamaStalled",
    ),
    "slow generation": ({'llamacpp:predicted_tokens_seconds{project="cres",service="llama"}': "1.5x40"}, "LlamaSlow"),
    "errors": (
        {
            'http_requests_total{project="cres",service="api",status="5xx"}': "0+1x40",
            'http_requests_total{project="cres",service="api",status="2xx"}': "0+9x40",
        },
        "ApiErrors",
    ),
    "slow answers": (
        {
            'http_request_duration_seconds_bucket{project="cres",service="api",le="1"}': "0+1x40",
            'http_request_duration_seconds_bucket{project="cres",service="api",le="10"}': "0+10x40",
            'http_request_duration_seconds_bucket{project="cres",service="api",le="+Inf"}': "0+10x40",
        },
        "ApiSlow",
    ),
    "a queue": ({'rq_jobs{project="cres",service="api",queue="rlm"}': "51x40"}, "ApiQueue"),
    "a full disk": (
        {
            'node_filesystem_avail_bytes{job="cres-machine",fstype="ext4"}': "9x40",
            'node_filesystem_size_bytes{job="cres-machine",fstype="ext4"}': "100x40",
        },
        "DiskFull",
    ),
    "restarts of a unit": (
        {'node_systemd_service_restart_total{name="blue-cres-llama.service"}': "0+1x40"},
        "UnitRestarts",
    ),
    "a full GPU": (
        {'DCGM_FI_DEV_FB_USED{job="cres-gpu"}': "96x40", 'DCGM_FI_DEV_FB_FREE{job="cres-gpu"}': "4x40"},
        "GpuMemoryFull",
    ),
}
QUIET = {
    'up{project="cres",service="llama"}': "1x40",
    'up{project="another",service="llama"}': "0x40",
    'llamacpp:requests_processing{project="cres",service="llama"}': "1x40",
    'llamacpp:n_decode_total{project="cres",service="llama"}': "0+100x40",
    'llamacpp:predicted_tokens_seconds{project="cres",service="llama"}': "9x40",
    'node_filesystem_avail_bytes{job="cres-machine",fstype="ext4"}': "50x40",
    'node_filesystem_size_bytes{job="cres-machine",fstype="ext4"}': "100x40",
    'node_filesystem_avail_bytes{job="cres-machine",fstype="tmpfs"}': "1x40",
    'node_filesystem_size_bytes{job="cres-machine",fstype="tmpfs"}': "100x40",
}
_ALERTS = [rule["alert"] for rule in yaml.safe_load(FILES["rules/cres.yml"])["groups"][0]["rules"]]


def test_each_alert_comes_when_it_should_and_no_other(tmp_path: Path) -> None:
    """Prometheus' own simulation of the rules, over twenty minutes."""
    cases = [*SEEN.values(), (QUIET, "")]
    rules = {rule["alert"]: rule for rule in yaml.safe_load(FILES["rules/cres.yml"])["groups"][0]["rules"]}
    tests = []
    for series, expected in cases:
        asked = []
        for alert in _ALERTS:
            fires = []
            if alert == expected:
                # The labels of what is seen are the alert's too, where the query leaves them.
                seen = dict(pair.split("=", 1) for pair in next(iter(series)).rpartition("{")[2][:-1].split(","))
                kept = {name: value.strip('"') for name, value in seen.items()}
                if alert in ("ApiErrors", "ApiSlow"):
                    kept = {}
                labels = {**kept, **rules[alert]["labels"]}
                fires = [{"exp_labels": labels, "exp_annotations": rules[alert]["annotations"]}]
            asked.append({"eval_time": "20m", "alertname": alert, "exp_alerts": fires})
        values = [{"series": name, "values": value} for name, value in series.items()]
        tests.append({"interval": "30s", "input_series": values, "alert_rule_test": asked})
    written(tmp_path, FILES)
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules/cres.yml"], "tests": tests}))

    promtool(tmp_path, "test", "rules", "test.yml")


def test_every_alert_has_been_seen() -> None:
    assert set(_ALERTS) - {expected for _, expected in SEEN.values()} == {
        "ApiDown",  # as LlamaDown
        "ApiRestarts",
        "LlamaCrowded",  # as ApiQueue
    }


def test_a_project_that_tells_nothing_is_told_how() -> None:
    with pytest.raises(UsageError, match="no service declares metrics"):
        rendered({"worker": SERVICES["worker"]})


def test_without_a_target_every_service_is_watched_where_it_listens() -> None:
    declared = Project.model_validate({"name": "cres", "services": SERVICES})

    scrapes = yaml.safe_load(files(declared, None, Path("/nowhere"))["prometheus.yml"])["scrape_configs"]

    assert [job["static_configs"][0]["targets"] for job in scrapes] == [
        ["127.0.0.1:8081"],
        ["10.0.0.5:8000", "[2001:db8::5]:8000"],
        ["127.0.0.1:9100"],
        ["127.0.0.1:9400"],
    ]


@given(text=texts())
def test_every_text_comes_back_from_yaml_and_from_json(text: str) -> None:
    value = Value("x", (text,))

    assert yaml.safe_load(f"a: {yaml_text(value)}\n") == {"a": text}
    assert json.loads(json_text(value)) == text


def test_with_traffic_each_slot_is_asked_and_programs_stand_side_by_side(tmp_path: Path) -> None:
    served = {"web": {"command": ["web", "${port}"], "port": 8000, "check": {"http": "/"}, "metrics": {}}}
    made = rendered(served, traffic={"metrics": 8405})

    jobs = {each["job_name"]: each["static_configs"][0]["targets"] for each in _prometheus(made)}
    assert jobs["cres-web"] == ["127.0.0.1:18000", "127.0.0.1:28000", "127.0.0.1:38000"]
    assert jobs["cres-traffic"] == ["127.0.0.1:8405"]
    panels = json.loads(made["dashboards/cres.json"])["panels"]
    assert len([each for each in panels if each["title"].endswith("by program")]) == 4
    alarms = {each["alert"]: each["expr"] for each in yaml.safe_load(made["rules/cres.yml"])["groups"][0]["rules"]}
    assert alarms["WebDown"] == 'sum(up{project="cres",service="web"}) < 1'
    promtool(written(tmp_path, made), "check", "config", "prometheus.yml")
    assert "cres-traffic" not in {each["job_name"] for each in _prometheus(rendered(served, traffic={}))}


def _prometheus(made: dict[str, str]) -> list[Any]:
    return list(yaml.safe_load(made["prometheus.yml"])["scrape_configs"])

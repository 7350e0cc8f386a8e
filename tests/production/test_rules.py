"""Each rule of the checklist sees what it is for, says where, and leaves the rest alone."""

from pathlib import Path

import pytest
import yaml

from provision.cli.production import results, subject
from provision.project import load
from provision.project.production import RULES, judge

CASES = yaml.safe_load((Path(__file__).with_name("cases.yaml")).read_text())
EXAMPLES = Path(__file__).parents[2] / "examples"

# What the examples are content with. The small ones show a first step, not production.
OWED = {
    "minimal": {"memory-limit", "cpu-limit", "alerts", "metrics"},
    "rlm-runtime": {"metrics", "rlm-isolation", "rlm-log-backup", "image-digest"},
    "rollout-server": set(),
    "vast-stack": {"compiled-engine", "health-check", "not-root", "firewall", "memory-limit", "cpu-limit", "metrics"},
}


def test_every_rule_has_a_case_of_each_kind():
    assert list(CASES) == [rule.id for rule in RULES]
    assert all(set(case) == {"wrong", "right"} for case in CASES.values())


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_says_where_it_is_broken(rule, lay):
    case = CASES[rule]["wrong"]
    assert broken(lay(case))[rule] == case["says"]


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_lets_pass_what_keeps_it(rule, lay):
    assert rule not in broken(lay(CASES[rule]["right"]))


def test_on_a_cluster_the_gateways_listener_has_the_certificate_where_one_is_named(lay):
    toml = """\
[services.web]
command = ["serve"]
port = 8000
proxy = { names = ["a.example"] }
[targets.k8s]
platform = "kubernetes"
gateway = { name = "public", listener = "https" }
"""

    assert "tls-public" not in broken(lay({"toml": toml}))
    assert "tls-public" in broken(lay({"toml": toml.replace(', listener = "https"', "")}))
    assert "tls-public" in broken(lay({"toml": f'{toml}[targets.one]\nhosts = ["a"]\npath = "/srv/a"\n'}))


def test_the_text_of_a_secret_is_never_repeated(lay):
    folder = lay(CASES["secret-in-release"]["wrong"])
    loaded = load(folder, environ={}, demand_secrets=False)
    assert "hunter2" not in "".join(str(result.problem) for result in results(loaded, judge(subject(loaded))))


@pytest.mark.parametrize("name", OWED)
def test_an_example_owes_no_more_than_is_known(name):
    assert set(broken(EXAMPLES / name)) <= OWED[name]


def broken(folder):
    """Each rule that is broken, with the place and the key of everything that it found."""
    environ = {"VAST_HOST": "host", "VAST_PORT": "22", "VAST_SSH_KEY": "key", "STACK_IMAGE": "vast-stack"}
    loaded = load(folder, environ=environ, demand_secrets=False)
    said = {}
    for result in results(loaded, judge(subject(loaded))):
        said.setdefault(result.rule.id, []).append(f"{result.problem.location}: {result.problem.key}".strip())
    return said

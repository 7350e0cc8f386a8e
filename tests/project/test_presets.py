"""Presets: what they bring, and what a service says itself."""

import subprocess

import pytest

from provision.project import load
from provision.project.presets import presets
from provision.project.template import Ref

# What each preset leaves to the service that names it.
OWN_KEYS = {
    "bitnet-server": 'model = "m.gguf"',
    "vllm": "",
    "sglang": "",
    "fastapi": "",
    "worker": 'command = ["python3", "-m", "jobs"]',
    "rlm-runtime": 'command = ["python3", "-m", "jobs"]\ndocker = "/run/docker.sock"',
    "rollout-server": "",
    "redis": "",
    "rq-worker": '[services.redis]\npreset = "redis"',
    "temporal": "",
    "s3": "",
}
SECRETS = {"SNIPARA_API_KEY": "k", "AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.fixture
def service(tmp_path):
    def load_service(text):
        (tmp_path / "deploy.toml").write_text(f'[project]\nname = "cres"\n[services.it]\n{text}\n')
        return load(tmp_path, environ=SECRETS).project.services["it"]

    return load_service


@pytest.mark.parametrize("preset", presets())
def test_every_preset_loads_with_the_keys_it_leaves_open(service, preset):
    loaded = service(f'preset = "{preset}"\n{OWN_KEYS[preset]}')

    assert loaded.command
    assert loaded.check is not None or loaded.on_demand


def test_a_model_server_is_run_by_its_binary_on_its_threads(service):
    llama = service(
        'preset = "bitnet-server"\nmodel = "m.gguf"\nbinary = "/opt/llama-server"\nthreads = 6\nport = 9001'
    )

    assert llama.command[0].refs == (Ref("binary"),)
    assert llama.binary == "/opt/llama-server"
    assert llama.command[-2].text == "6"
    assert llama.paths == ()
    assert llama.port == 9001
    assert [check.completion is not None for check in llama.checks] == [True]


def test_threads_are_the_whole_cores_of_the_declared_size(service):
    assert service('preset = "bitnet-server"\nmodel = "m"\nresources = { size = "medium" }').command[-2].text == "4"
    assert service('preset = "bitnet-server"\nmodel = "m"\nresources = { cpus = 2.9 }').command[-2].text == "2"
    assert service('preset = "bitnet-server"\nmodel = "m"\nresources = { cpus = 0.5 }').command[-2].text == "1"


def test_threads_stay_open_where_nothing_is_declared(service):
    assert service('preset = "bitnet-server"\nmodel = "m"').command[-2].refs == (Ref("cpus"),)


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ("", ("5", "50")),
        ('resources = { size = "small" }', ("5", "10")),
        ('resources = { size = "medium" }', ("10", "50")),
        ('resources = { size = "large" }', ("20", "200")),
        ('resources = { size = "large" }\nenv = { TOKENIZER_CACHE_SIZE = "9" }', ("9", "200")),
    ],
)
def test_a_rollout_server_keeps_as_many_tokenizers_and_rollouts_as_its_size_has_room_for(service, more, kept):
    env = service(f'preset = "rollout-server"\n{more}').env

    assert (env["TOKENIZER_CACHE_SIZE"].text, env["MAX_CONCURRENT_ROLLOUTS"].text) == kept


def test_args_are_appended_to_the_command_of_a_preset(service):
    llama = service('preset = "bitnet-server"\nmodel = "m"\nargs = ["--ctx-size", "4096"]')

    assert [text.text for text in llama.command[-3:]] == ["--metrics", "--ctx-size", "4096"]
    assert llama.args == ()


def test_a_key_of_the_service_replaces_that_of_the_preset_and_env_is_merged(service):
    rlm = service(
        'preset = "rlm-runtime"\ncommand = ["a"]\nsecrets = []\ndocker = "/run/docker.sock"\n'
        'env = { RLM_MODEL = "local/bitnet", EXTRA = "1" }'
    )

    assert rlm.secrets == ()
    assert rlm.env["RLM_MODEL"].text == "local/bitnet"
    assert rlm.env["EXTRA"].text == "1"
    assert rlm.env["RLM_DOCKER_MEMORY"].text == "512m"


def test_the_engine_is_told_to_who_uses_it_alone(service):
    rlm = 'preset = "rlm-runtime"\ncommand = ["a"]\ndocker = "/run/docker.sock"\n'

    using, idle = service(rlm), service(f'{rlm}env = {{ RLM_ENVIRONMENT = "wasm" }}')
    own = service(f'{rlm}env = {{ DOCKER_HOST = "unix:///run/other.sock" }}')

    assert using.env["DOCKER_HOST"].text == "unix:///run/docker.sock"
    assert "DOCKER_HOST" not in idle.env
    assert own.env["DOCKER_HOST"].text == "unix:///run/other.sock"
    assert (using.starts_containers, idle.starts_containers) == (True, False)


def test_what_stands_beside_a_size_wins(service):
    resources = service('command = ["a"]\nresources = { size = "large", memory = "6GB" }').resources

    assert (resources.memory, resources.cpus) == (6 * 10**9, 8.0)


DOCKER = "│ Docker daemon             │ ✗      │ No module named 'docker' │\n"
CONFIG = "│ Package: litellm          │ ✗      │ missing                  │\n"


@pytest.mark.parametrize(
    ("told", "status", "environment", "passes"),
    [
        ("All checks passed!\n", 0, "docker", True),
        (DOCKER, 1, "local", True),
        (DOCKER, 1, "docker", False),
        (CONFIG, 1, "local", False),
        (DOCKER + CONFIG, 1, "local", False),
        ("rlm: not found\n", 127, "local", False),
    ],
)
def test_the_doctor_of_rlm_may_miss_docker_where_none_is_needed(tmp_path, told, status, environment, passes):
    doctor = tmp_path / "rlm"
    doctor.write_text(f'#!/bin/sh\n[ "$1" = doctor ] || exit 3\ncat <<"END"\n{told}END\nexit {status}\n')
    doctor.chmod(0o700)
    command = presets()["rlm-runtime"]["check"]["command"]

    asked = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin", "RLM_ENVIRONMENT": environment})

    assert (asked.returncode == 0) is passes

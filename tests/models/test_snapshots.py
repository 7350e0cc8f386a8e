"""Whole repositories of safetensors: locked by content, fetched by the host, found as the Hub's own cache."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeployError, UsageError
from provision.models import snapshot
from provision.project.models import ALLOWED, Model
from provision.project.parts import Resources
from provision.project.service import Service
from provision.project.template import Template
from provision.release import snapshots
from provision.release.model_lock import SnapshotShape
from provision.targets import sandbox
from tests.models.conftest import COMMIT, TOKEN, Hub
from tests.models.project import Project
from tests.models.repositories import REPOSITORY, TAKEN, contents, put

# What a server of safetensors does before it serves: it asks the Hub's library, by name and offline.
SERVE = """\
import hashlib, http.server, json, os, sys
from huggingface_hub import snapshot_download, try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer
name, folder, port = sys.argv[1:]
found = snapshot_download(name)
config, tokenizer = AutoConfig.from_pretrained(name), AutoTokenizer.from_pretrained(name)
answer = json.dumps({
    "same": os.path.samefile(found, folder),
    "by revision": os.path.samefile(snapshot_download(name, revision="v1", local_files_only=True), folder),
    "config": try_to_load_from_cache(name, "config.json") is not None,
    "layers": config.num_hidden_layers,
    "tokens": tokenizer("a tiny model")["input_ids"],
    "files": {
        os.path.relpath(path, found): hashlib.sha256(open(path, "rb").read()).hexdigest()
        for top, _, names in os.walk(found) for path in (os.path.join(top, each) for each in names)
    },
}).encode()
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Web).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path, environ: dict[str, str]) -> Iterator[Project]:
    project = Project(tmp_path / "project", environ)
    (project.root / "serve.py").write_text(SERVE)
    yield project
    sandbox.stop(project.root)


def _declare(project: Project, extra: str = "", source: str = f"hf://{REPOSITORY}@v1") -> None:
    (project.root / "deploy.toml").write_text(
        f"""\
[project]
name = "modelled"

[models.tiny]
source = "{source}"
{extra}
[services.llm]
command = ["{sys.executable}", "serve.py", "${{repository}}", "${{model}}", "${{port}}"]
env = {{ HF_HUB_CACHE = "${{hub}}", HF_HUB_OFFLINE = "1", HF_HOME = "${{path}}/shared/huggingface" }}
model = "tiny"
port = {project.port}
check = {{ http = "/", timeout = "60s" }}

[targets.sandbox]
hosts = ["sandbox"]
path = "{project.root.parent}/place"
"""
    )


def _told(project: Project) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.port}/", timeout=30) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def _digests() -> dict[str, str]:
    return {path: hashlib.sha256(contents()[path]).hexdigest() for path in TAKEN}


def test_a_service_finds_a_repository_as_the_hubs_cache_and_an_unchanged_one_costs_nothing(
    project: Project, hub: Hub
) -> None:
    put(hub)
    (hub.folder / REPOSITORY / "v1").symlink_to(COMMIT)
    _declare(project)

    assert "models.tiny: it is not locked" in project.refused("up")
    assert f"tiny: new at {COMMIT[:12]}" in project.ok("model", "lock")
    assert "fetch snapshot models/tiny, 7 files" in project.ok("plan")
    project.ok("up")

    assert _told(project) == {
        "same": True,
        "by revision": True,
        "config": True,
        "layers": 2,
        "tokens": [1, 2, 3],
        "files": _digests(),
    }
    assert {path.name for path in project.kept} == {
        f"sha256-{each}" for path, each in _digests().items() if contents()[path]
    }
    before = len(hub.asked)
    assert "unchanged" in project.ok("up")
    assert len(hub.asked) == before
    assert project.ok("model", "verify").count("is whole") == 7
    assert "serves" in project.ok("model", "list")
    assert "nothing to remove" in project.ok("model", "prune")
    project.ok("down")


@pytest.mark.slow  # the relay has fast tests of its own
def test_this_machine_fetches_one_for_hosts_that_can_not(project: Project, hub: Hub) -> None:
    put(hub)
    (hub.folder / REPOSITORY / "v1").symlink_to(COMMIT)
    _declare(project, 'fetch = "ship"\nallow = ["*.safetensors", "*.json"]\n')

    project.ok("model", "lock")
    project.ok("up")

    assert _told(project)["files"] == {path: each for path, each in _digests().items() if path != "empty.txt"}
    project.ok("down")


def _find(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, model: Model | None = None, token: str = ""
) -> snapshot.FoundSnapshot:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return snapshot.find("tiny", model or Model(source=f"hf://{REPOSITORY}"), token)


def test_what_is_locked_is_what_the_hubs_own_library_brings(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str]
) -> None:
    put(hub)
    locked = _find(hub, monkeypatch, Model(source=f"hf://{REPOSITORY}", ignore=("empty*", "tok*"))).locked

    script = (
        "import json, sys\nfrom huggingface_hub import HfApi, snapshot_download\n"
        "api = HfApi()\nallow, ignore, name = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]\n"
        "counts = {}\n"
        "for part in (1, 2):\n"
        "    found = api.parse_safetensors_file_metadata(name, f'model-0000{part}-of-00002.safetensors')\n"
        "    for kind, count in found.parameter_count.items():\n"
        "        counts[kind] = counts.get(kind, 0) + count\n"
        "print(json.dumps([snapshot_download(name, allow_patterns=allow, ignore_patterns=ignore), counts]))\n"
    )
    words = [sys.executable, "-c", script, json.dumps(ALLOWED), json.dumps(["empty*", "tok*"]), REPOSITORY]
    said = subprocess.run(words, env=environ, check=True, capture_output=True, timeout=60)
    folder, counts = json.loads(said.stdout.splitlines()[-1])
    brought = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }
    assert {file.path: file.sha256 for file in locked.files} == brought
    assert dict(locked.shape.parameters) == counts == {"F16": 512, "F32": 64}
    assert locked.shape.weights == 512 * 2 + 64 * 4
    assert (locked.shape.layers, locked.shape.kv_per_layer, locked.shape.context_length) == (2, 2 * 2 * 16, 512)
    assert locked.architecture == "LlamaForCausalLM"


def test_a_gated_repository_shows_its_small_files_to_the_token_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, content in contents().items():
        hub.put("acme/gated-tiny", path, content)
    gated = Model(source="hf://acme/gated-tiny")

    with pytest.raises(UsageError, match="acme/gated-tiny is gated"):
        _find(hub, monkeypatch, gated)

    assert len(_find(hub, monkeypatch, gated, TOKEN).locked.files) == len(TAKEN)
    assert not [asked for asked in hub.asked if asked["files"] and asked["token"]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model-00001-of-00002.safetensors": contents()["model-00001-of-00002.safetensors"][:-1]}, "is not whole"),
        ({"model-00001-of-00002.safetensors": b"GGUF" + bytes(64)}, "is no safetensors file"),
        ({"model-00001-of-00002.safetensors": b"x"}, "is no safetensors file"),
        ({"model-00001-of-00002.safetensors": (2).to_bytes(8, "little") + b"[]"}, "is no safetensors file"),
        ({"config.json": b"[]"}, "has no config.json"),
        ({f"{'x' * 200}.json": b"{}"}, "a file whose path is longer than 200 bytes"),
    ],
)
def test_a_repository_that_is_damaged_is_a_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, change: dict[str, bytes], says: str
) -> None:
    put(hub)
    for path, content in change.items():
        hub.put(REPOSITORY, path, content)

    with pytest.raises(UsageError, match=says):
        _find(hub, monkeypatch)


def test_a_small_file_that_is_not_what_git_calls_it_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hub)
    hub.fail("changed")

    with pytest.raises(DeployError, match="is not what the Hub says of it"):
        _find(hub, monkeypatch)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pytorch_model.bin": b"x", "config.json": b"{}"}, "convert it to safetensors"),
        ({"tiny.Q4_K_M.gguf": b"x"}, 'source = "hf://acme/other:Q4_K_M"'),
        ({"README.md": b"x"}, "It has no weights"),
    ],
)
def test_a_repository_without_safetensors_says_what_it_has(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], says: str
) -> None:
    for path, content in files.items():
        hub.put("acme/other", path, content)

    with pytest.raises(UsageError) as refused:
        _find(hub, monkeypatch, Model(source="hf://acme/other"))
    assert says in f"{refused.value.why} {refused.value.next_step}"


# Qwen/Qwen3-8B: 36 layers, 8 heads of 128 for keys and for values, 16.4 GB in bfloat16.
SHAPE = SnapshotShape({"BF16": 8_190_735_360}, 16_381_470_720, 36, 0, 0, 2 * 8 * 128, 40960)


@pytest.mark.parametrize(
    ("words", "gpus", "shape", "gigabytes"),
    [
        ("--max-model-len 8192 --gpu-memory-utilization 0.9", 1, SHAPE, 21.8),
        ("--max-model-len 8192 --gpu-memory-utilization=0.5", 1, SHAPE, 39.2),
        ("--max-model-len 40960", 1, SHAPE, 27.1),
        ("--max-model-len 40960 --kv-cache-dtype fp8", 1, SHAPE, 23.8),
        ("--max-model-len 8192", 2, SHAPE, 12.0),
        ("--context-length 8192 --mem-fraction-static 0.85", 1, SHAPE, 23.0),
        ("--max-model-len 8192", 1, replace(SHAPE, parameters={"F32": 4_095_367_680}), 12.7),
        ("--max-model-len 40960", 1, replace(SHAPE, layers=6, windowed=30, window=1024), 21.7),
        ("--max-model-len 8192", 0, SHAPE, None),
        ("--max-model-len auto", 1, SHAPE, None),
        ("--max-model-len 8192 --quantization bitsandbytes", 1, SHAPE, None),
        ("--max-model-len 8192 --cpu-offload-gb 4", 1, SHAPE, None),
        ("serve it", 1, SHAPE, None),
    ],
)
def test_a_gpus_memory_is_told_by_weights_context_and_share(
    words: str, gpus: int, shape: SnapshotShape, gigabytes: float | None
) -> None:
    service = Service(command=tuple(Template((word,)) for word in words.split()), resources=Resources(gpus=gpus))

    asked = snapshots.vram_needed(service, shape)

    assert (round(asked / 1e9, 1) if asked else None) == gigabytes

"""A model by its address in files for containers: somebody fetches it before its service starts, by digest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.errors import UsageError
from provision.manifests.fetched import FOLDER
from provision.models import snapshot
from provision.platforms import face
from provision.project import load
from provision.project.loaded import LoadedProject
from provision.release import model_lock
from provision.release.model_lock import LockedFile, LockedModel, Shape
from tests.models.conftest import TOKEN, Hub
from tests.models.repositories import REPOSITORY, TAKEN, contents, put

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "ghcr.io/acme/llama@sha256:" + "a" * 64
CURL = "docker.io/curlimages/curl@sha256:" + "c" * 64
SHAPE = Shape(1, {"Q8_0": 1}, (1,), 1, 4096, 64, 100, 128, 4, (128,))
DECLARED = """\
[project]
name = "modelled"
image = "{image}"

[models.tiny]
source = "hf://acme/gated-tiny/tiny.gguf"
token = "HF_TOKEN"
fetcher = "{curl}"

[models.split]
source = "hf://acme/split/s-00001-of-00002.gguf"

[services.llm]
preset = "bitnet-server"
model = "tiny"

[services.other]
preset = "bitnet-server"
port = 8082
model = "split"
replicas = 2
"""


def project(root: Path, files: dict[str, list[tuple[str, bytes]]], drafted: str = "") -> LoadedProject:
    """A project whose models are locked, as `deploy model lock` would; `drafted`: what drafts for tiny."""
    draft = f'model = "tiny"\ndraft = "{drafted}"\n' if drafted else 'model = "tiny"\n'
    (root / "deploy.toml").write_text(DECLARED.format(image=IMAGE, curl=CURL).replace('model = "tiny"\n', draft))
    sources = {"tiny": "hf://acme/gated-tiny/tiny.gguf", "split": "hf://acme/split/s-00001-of-00002.gguf"}
    model_lock.write(
        root,
        {
            name: LockedModel(
                sources[name],
                "c0ffee",
                "llama",
                tuple(
                    LockedFile(url, len(bytes_), hashlib.sha256(bytes_).hexdigest(), ("Q8_0",)) for url, bytes_ in each
                ),
                SHAPE,
            )
            for name, each in files.items()
        },
    )
    return load(root, environ={"HF_TOKEN": "x"}, without_targets=True, demand_secrets=False)


PLAIN = {
    "tiny": [("https://huggingface.co/acme/gated-tiny/resolve/c0ffee/tiny.gguf", b"tiny")],
    "split": [
        (f"https://huggingface.co/acme/split/resolve/c0ffee/s-0000{part}-of-00002.gguf", b"part%d" % part)
        for part in (1, 2)
    ],
}


@pytest.mark.parametrize("platform", ["kubernetes", "compose"])
def test_the_files_are_as_reviewed(platform: str, tmp_path: Path) -> None:
    loaded = project(tmp_path, PLAIN)
    files = face(platform).files(loaded.project, None, tmp_path)
    chosen = {
        name: text for name, text in files.items() if name in ("compose.yaml", "stable/llm.yaml", "stable/other.yaml")
    }
    for name, text in chosen.items():
        place = GOLDEN / platform / name
        if os.environ.get("REWRITE_GOLDEN"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        assert text == place.read_text()
    assert chosen


def test_what_is_not_locked_is_not_rendered(tmp_path: Path) -> None:
    loaded = project(tmp_path, {"tiny": PLAIN["tiny"]})

    with pytest.raises(UsageError, match=r"models\.split: it is not locked"):
        face("kubernetes").files(loaded.project, None, tmp_path)


class Pod:
    """What a cluster would start before the service, started here: with its folders in a place of its own."""

    def __init__(self, root: Path, loaded: LoadedProject, service: str) -> None:
        documents = yaml.safe_load_all(
            face("kubernetes").files(loaded.project, None, loaded.root)[f"stable/{service}.yaml"]
        )
        spec: Any = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
        self.volume, self.secrets = root / "volume", root / "secrets"
        for folder in (self.volume, self.secrets):
            folder.mkdir()
        # Kubernetes makes one of two (its "Define a Command", variable expansion).
        said = [word.replace("$$", "$") for word in spec["initContainers"][0]["command"]]
        self.command = [
            word.replace(FOLDER, str(self.volume)).replace("/run/secrets", str(self.secrets)) for word in said
        ]
        self.serves: list[str] = spec["containers"][0]["command"]

    def start(self) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOSTNAME": "pod-1"}
        return subprocess.run(self.command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    @property
    def served(self) -> Path:
        return self.word("--model")

    def word(self, option: str) -> Path:
        """The file that the service is told with an option."""
        return Path(self.serves[self.serves.index(option) + 1].replace(FOLDER, str(self.volume)))


def hub_project(
    root: Path, hub: Hub, content: bytes, repository: str = "acme/gated-tiny", drafted: str = ""
) -> LoadedProject:
    hub.put(repository, "tiny.gguf", content, "c0ffee")
    hub.put("acme/split", "a.gguf", b"one", "c0ffee")
    hub.put("acme/split", "b.gguf", b"two", "c0ffee")
    return project(
        root,
        {
            "tiny": [(f"{hub.url}/{repository}/resolve/c0ffee/tiny.gguf", content)],
            "split": [
                (f"{hub.url}/acme/split/resolve/c0ffee/a.gguf", b"one"),
                (f"{hub.url}/acme/split/resolve/c0ffee/b.gguf", b"two"),
            ],
        },
        drafted,
    )


def test_a_gated_model_is_fetched_once_and_its_token_goes_to_its_host_alone(hub: Hub, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    pod = Pod(tmp_path, hub_project(tmp_path, hub, content), "llm")

    refused = pod.start()
    assert not pod.served.exists()
    (pod.secrets / "HF_TOKEN").write_text(TOKEN + "\n")
    fetched = pod.start()
    asked = len(hub.asked)
    again = pod.start()

    assert refused.returncode != 0
    assert fetched.returncode == 0, fetched.stderr
    assert pod.served.read_bytes() == content
    assert (again.returncode, len(hub.asked)) == (0, asked)
    assert not any(each["token"] for each in hub.asked if each["files"])
    assert TOKEN not in " ".join(pod.command) + fetched.stdout + fetched.stderr


def test_a_draft_is_fetched_beside_its_model_and_shown_no_token_of_it(hub: Hub, tmp_path: Path) -> None:
    pod = Pod(tmp_path, hub_project(tmp_path, hub, b"tiny", drafted="split"), "llm")
    (pod.secrets / "HF_TOKEN").write_text(TOKEN + "\n")

    done = pod.start()

    assert done.returncode == 0, done.stderr
    assert pod.served.read_bytes() == b"tiny"
    assert pod.word("--model-draft").read_bytes() == b"one"
    assert {each["path"] for each in hub.asked if each["token"]} == {"/acme/gated-tiny/resolve/c0ffee/tiny.gguf"}


def test_the_parts_of_a_model_lie_beside_each_other(hub: Hub, tmp_path: Path) -> None:
    pod = Pod(tmp_path, hub_project(tmp_path, hub, b"tiny"), "other")

    assert pod.start().returncode == 0
    assert pod.served.read_bytes() == b"one"
    assert pod.served.with_name("split-00002-of-00002.gguf").read_bytes() == b"two"


@pytest.mark.parametrize(("fault", "tries"), [("cut", 2), ("other", 2), ("gone", 2), ("500", 1)])
def test_nothing_has_the_model_s_name_but_the_model(fault: str, tries: int, hub: Hub, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    pod = Pod(tmp_path, hub_project(tmp_path, hub, content), "llm")
    (pod.secrets / "HF_TOKEN").write_text(TOKEN)
    hub.fail(fault)

    for _ in range(tries):
        assert not pod.served.exists()
        done = pod.start()

    assert done.returncode == 0, done.stderr
    assert pod.served.read_bytes() == content
    assert [path.name for path in pod.served.parent.iterdir()] == ["tiny.gguf"]


def test_a_snapshot_is_the_hubs_cache_in_its_volume(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    put(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    (tmp_path / "deploy.toml").write_text(
        f'[project]\nname = "modelled"\nimage = "{IMAGE}"\n[models.tiny]\nsource = "hf://{REPOSITORY}"\n'
        '[services.llm]\npreset = "vllm"\nmodel = "tiny"\n'
    )
    loaded = load(tmp_path, environ={}, without_targets=True, demand_secrets=False)
    model_lock.write(tmp_path, {"tiny": snapshot.find("tiny", loaded.project.models["models/tiny"], "").locked})
    pod = Pod(tmp_path, loaded, "llm")

    done = pod.start()

    assert done.returncode == 0, done.stderr
    folder = pod.word("serve")
    assert {path: (folder / path).read_bytes() for path in TAKEN} == {path: contents()[path] for path in TAKEN}
    script = "import sys\nfrom huggingface_hub import snapshot_download\nprint(snapshot_download(sys.argv[1]))"
    offline = {**environ, "HF_HUB_CACHE": str(folder.parents[2]), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run([sys.executable, "-c", script, REPOSITORY], env=offline, check=True, capture_output=True)
    assert Path(said.stdout.decode().strip()).samefile(folder)

"""From a folder to a registry."""

from __future__ import annotations

import json
import subprocess

import pytest

from provision.cli.main import main
from provision.images.registry.documents import OCI_INDEX, OCI_MANIFEST, Descriptor, ImageManifest, digest_of
from provision.images.registry.referrers import referrers
from tests.images.make import CONFIG, KEY, LAYER, private_pem, public_pem, recorded
from tests.images.make import image as make_image
from tests.images.promoting import prove

pytestmark = pytest.mark.registry

COMMIT = "4f1c" * 10


def blob(folder, content: bytes) -> bytes:
    where = folder / "blobs" / "sha256" / digest_of(content).removeprefix("sha256:")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(content)
    return content


def one(folder, number, labels=None) -> ImageManifest:
    config = {"architecture": "amd64", "os": "linux", "number": number, "config": {"Labels": labels or {}}}
    layer = Descriptor.of(LAYER, blob(folder, b"layer %d" % number * 1000))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor.of(CONFIG, blob(folder, json.dumps(config).encode())).as_json(),
        "layers": [layer.as_json()],
    }
    return ImageManifest(blob(folder, json.dumps(document, indent=2).encode()), OCI_MANIFEST)


def layout(folder, *manifests):
    pointers = [Descriptor(made.media_type, made.digest, len(made.content)).as_json() for made in manifests]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": pointers}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return manifests[0] if manifests else None


@pytest.fixture
def app(tmp_path, repository):
    """The folder that `deploy image build app` leaves, and `app` in promotion.toml."""
    (tmp_path / "promotion.toml").write_text(f'[app]\nrepository = "{repository}"\n')
    return tmp_path / "build" / "images" / "app" / "oci"


@pytest.fixture
def deploy(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    (tmp_path / "evidence.pub").write_bytes(public_pem(KEY))

    def run(*words: str) -> tuple[int, list[dict]]:
        code = main(["image", *words, "-C", str(tmp_path), "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_pushed_image_is_canary_and_the_commit_that_it_says_it_is(app, deploy, repository):
    made = layout(app, one(app, 1, {"org.opencontainers.image.revision": COMMIT}))
    code, (*blobs, result) = deploy("push", "app")
    assert (code, result["outcome"], result["old"], result["new"]) == (0, "committed", "", made.digest)
    assert [event["how"] for event in blobs] == ["sent", "sent"]
    assert repository.get("canary") == repository.get(f"sha-{COMMIT}") == made
    (move,) = recorded(repository, "canary").moves
    assert (move.kind, move.old, move.new) == ("push", "", made.digest)


def test_an_index_is_pushed_with_every_platform(app, deploy, repository):
    parts = [one(app, number, {"org.opencontainers.image.revision": COMMIT}) for number in (1, 2)]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [part.descriptor.as_json() for part in parts]}
    made = layout(app, ImageManifest(blob(app, json.dumps(document).encode()), OCI_INDEX))
    assert deploy("push", "app")[0] == 0
    assert repository.get("canary") == repository.get(f"sha-{COMMIT}") == made
    assert [repository.get(part.digest) for part in parts] == parts


def test_the_bill_of_materials_and_the_build_record_go_with_it(app, deploy, repository, tmp_path):
    made = layout(app, one(app, 1))
    (app.parent / "sbom.spdx.json").write_text("{}")
    (app.parent / "record.json").write_text('{"flags": []}')
    (tmp_path / "notes.txt").write_text("new")
    assert deploy("push", "app", "--attach", f"text/plain={tmp_path}/notes.txt")[0] == 0
    assert [item.artifact_type for item in referrers(repository, made.digest)] == [
        "application/spdx+json",
        "application/vnd.bitnet-provision.build-record.v1+json",
        "text/plain",
    ]


def test_skopeo_s_layout_is_pushed_and_skopeo_reads_what_was_pushed(app, deploy, repository, tmp_path):
    layout(app, one(app, 1))
    subprocess.run(["skopeo", "copy", "-q", f"oci:{app}", f"oci:{tmp_path}/theirs:a"], check=True)
    code, (*_, result) = deploy("push", str(repository), "--oci", f"{tmp_path}/theirs")
    assert code == 0
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{repository}:canary"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["Digest"] == result["new"]


def test_pushing_the_same_again_changes_nothing(app, deploy, repository):
    layout(app, one(app, 1))
    deploy("push", "app")
    code, (*blobs, result) = deploy("push", "app")
    assert (code, result["outcome"]) == (0, "unchanged")
    assert {event["how"] for event in blobs} == {"there"}
    assert len(recorded(repository, "canary").moves) == 1


def test_stable_is_not_pushed_to(app, deploy, repository):
    layout(app, one(app, 1))
    code, (error,) = deploy("push", "app", "--to", "stable")
    assert (code, error["why"]) == (4, "It stands for what was proven, and only a promotion moves it.")
    assert repository.digest("stable") == ""


def test_no_channel_that_was_ever_promoted_to_is_pushed_to(app, deploy, repository, tmp_path):
    made = layout(app, one(app, 1))
    deploy("push", "app")
    prove(repository, made)
    assert deploy("promote", "app", "--to", "production")[0] == 0
    layout(app, one(app, 2))
    assert deploy("push", "app", "--to", "production")[0] == 4
    assert repository.get("production") == made


def test_the_same_commit_with_other_bytes_is_told(app, deploy, repository):
    layout(app, one(app, 1))
    deploy("push", "app", "--commit", COMMIT)
    again = layout(app, one(app, 2))
    code, events = deploy("push", "app", "--commit", COMMIT)
    (warning,) = [event["text"] for event in events if event["event"] == "warning"]
    assert code == 0
    assert "the same commit gave other bytes this time" in warning
    assert repository.get(f"sha-{COMMIT}") == again


def test_a_minimum_age_counts_from_the_push(app, deploy, repository, tmp_path):
    made = layout(app, one(app, 1))
    deploy("push", "app")
    prove(repository, made)
    for age, code in (("1h", 4), ("0s", 0)):
        (tmp_path / "promotion.toml").write_text(f'[app]\nrepository = "{repository}"\nmin_age = "{age}"\n')
        assert deploy("promote", "app")[0] == code


def test_a_push_that_breaks_off_moves_nothing(app, deploy, repository, proxy, tmp_path, monkeypatch):
    from provision.images.registry import wire

    monkeypatch.setattr(wire, "_RETRIES", 0)
    old = make_image(repository, "canary")
    layout(app, one(app, 1))
    behind = f"{proxy.authority}/{repository.reference.repository}"
    proxy.on("PUT", "/blobs/uploads/", skip=1, drop=True)
    assert deploy("push", behind, "--oci", str(app))[0] == 1
    assert repository.get("canary") == old


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda app: (app / "index.json").unlink(), "is not an OCI image layout"),
        (lambda app: (app / "index.json").write_text("[]"), "is not an OCI image layout"),
        (lambda app: layout(app), "holds 0 images"),
        (lambda app: layout(app, one(app, 1), one(app, 2)), "holds 2 images"),
        (lambda app: [file.write_bytes(b"{}") for file in (app / "blobs/sha256").iterdir()], "is something else"),
        (lambda app: [file.unlink() for file in (app / "blobs/sha256").iterdir()], "No such file"),
    ],
)
def test_a_folder_that_holds_no_image_is_said(break_it, said, app, deploy, repository):
    layout(app, one(app, 1))
    break_it(app)
    code, (error,) = deploy("push", "app")
    assert code == 2
    assert said in error["what"] + error["why"]
    assert repository.digest("canary") == ""


def test_a_folder_whose_blob_was_changed_is_refused_by_the_registry(app, deploy, repository):
    made = layout(app, one(app, 1))
    layer = app / "blobs" / "sha256" / made.blobs[1].digest.removeprefix("sha256:")
    layer.write_bytes(layer.read_bytes()[::-1])
    code, (*_, error) = deploy("push", "app")
    assert (code, error["status"]) == (1, 400)
    assert repository.digest("canary") == ""


def test_a_push_without_a_key_writes_nothing_down_and_says_so(app, deploy, repository, monkeypatch):
    monkeypatch.delenv("DEPLOY_EVIDENCE_KEY")
    made = layout(app, one(app, 1))
    code, events = deploy("push", "app")
    assert (code, repository.get("canary")) == (0, made)
    assert "nothing says since when canary is" in next(e["text"] for e in events if e["event"] == "warning")
    assert repository.digest("canary.history") == ""


def test_a_push_begins_anew_what_an_earlier_version_wrote_and_says_so(app, deploy, repository):
    made = layout(app, one(app, 1))
    repository.put(ImageManifest.write({**_INDEX, "annotations": {"bitnet-provision.moves": "[]"}}), "canary.history")
    code, events = deploy("push", "app")
    assert "canary.history is not signed" in next(e["text"] for e in events if e["event"] == "warning")
    assert (code, [move.new for move in recorded(repository, "canary").moves]) == (0, [made.digest])


_INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_a_channel_that_was_moved_by_hand_has_its_age_from_the_next_push(app, deploy, repository):
    first, second = one(app, 1), one(app, 2)
    for made in (first, second):
        layout(app, made)
        deploy("push", "app")
    repository.put(first, "canary")
    assert recorded(repository, "canary").since(first.digest) is None
    layout(app, first)
    assert deploy("push", "app")[1][-1]["outcome"] == "unchanged"
    assert recorded(repository, "canary").since(first.digest) is not None

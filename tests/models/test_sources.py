"""Models in stores and registries: signed for here, fetched by the host, with nothing of a signature left behind."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.models import access
from provision.targets import sandbox
from tests.images.registry import registry
from tests.models.project import Project
from tests.testbed.seaweed import seaweed


@pytest.fixture
def project(tmp_path: Path, environ: dict[str, str]) -> Iterator[Project]:
    project = Project(tmp_path / "project", environ)
    yield project
    sandbox.stop(project.root)


def _client(store: dict[str, str]):  # type: ignore[no-untyped-def]  # botocore makes its methods as it runs
    from botocore.session import Session

    return Session().create_client(
        "s3",
        endpoint_url=store["AWS_ENDPOINT_URL_S3"],
        region_name=store["AWS_REGION"],
        aws_access_key_id=store["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=store["AWS_SECRET_ACCESS_KEY"],
    )


def test_a_host_fetches_from_a_store_by_an_address_that_is_signed_here_and_kept_nowhere(
    project: Project, tmp_path: Path, demo_model: bytes
) -> None:
    digest = hashlib.sha256(demo_model).hexdigest()
    with seaweed(tmp_path) as store:
        client = _client(store)
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="a folder/tiny.gguf", Body=demo_model)
        project.environ.pop("AWS_ACCESS_KEY_ID", None)
        (project.root / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in store.items()))
        (project.root / ".env").chmod(0o600)
        project.declare("s3://models/a folder/tiny.gguf", f'sha256 = "{digest}"\n')

        wrong = {**store, "AWS_SECRET_ACCESS_KEY": "another"}
        (project.root / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in wrong.items()))
        assert "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in project.refused("model", "lock")
        (project.root / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in store.items()))
        project.ok("model", "lock")
        (project.root / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in wrong.items()))
        assert "AWS_ACCESS_KEY_ID" in project.refused("up")
        (project.root / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in store.items()))
        assert "from s3://models" in project.ok("plan")
        said = project.ok("up", "--json")

    assert project.served() == digest
    assert "X-Amz" not in (project.root / "models.lock").read_text() + said
    kept = [path for path in (project.root.parent / "place").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if re.search(rb"X-Amz-Signature=\w", path.read_bytes())]
    project.ok("down")


@pytest.mark.slow
def test_a_model_is_pushed_to_a_registry_and_fetched_from_there(
    project: Project, tmp_path: Path, demo_model: bytes
) -> None:
    digest = hashlib.sha256(demo_model).hexdigest()
    with registry(tmp_path) as place:
        source = tmp_path / "www"
        source.mkdir()
        project.declare(f"oci://{place.authority}/acme/models:tiny")
        assert "is not there" in project.refused("model", "lock")

        from provision.models import artifact

        (source / "tiny.gguf").write_bytes(demo_model)
        pushed = artifact.push(
            f"oci://{place.authority}/acme/models:tiny", [("tiny.gguf", source / "tiny.gguf", digest)], project.environ
        )
        project.ok("model", "lock")
        locked = json.loads((project.root / "models.lock").read_text())["models"]["tiny"]
        assert locked["revision"] == pushed
        assert locked["files"][0]["url"] == f"oci://{place.authority}/acme/models@sha256:{digest}"
        project.ok("up")
        assert project.served() == digest
        assert "acme/copies:one" in project.ok("model", "push", "tiny", f"oci://{place.authority}/acme/copies:one")
    project.ok("down")


def test_what_is_good_for_a_while_has_ended_before_its_last_moment() -> None:
    assert access.Access("https://a", "", time.time() + 5).has_ended
    assert not access.Access("https://a", "", time.time() + 60).has_ended
    assert not access.Access("https://a").has_ended

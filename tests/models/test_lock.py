"""models.lock is a file that people merge and edit: what it says wrongly is a sentence, and is never believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeclarationError, UsageError
from provision.project import load
from provision.release import model_lock

_FILE = {"url": "https://example.net/m.gguf", "bytes": 100, "sha256": "a" * 64, "tensor_types": ["F16"]}
_SHAPE = {
    "size": 100,
    "tensor_types": {"F16": 1},
    "layer_bytes": [10, 10],
    "other_bytes": 10,
    "context_length": 128,
    "embedding_length": 8,
    "vocabulary": 8,
    "feed_forward": 8,
    "heads": 2,
    "kv_per_token": [4, 4],
}


def _lock(file: dict[str, Any] | None = None, shape: dict[str, Any] | None = None, **changed: Any) -> str:
    model = {"source": "https://example.net/m.gguf", "revision": "", "architecture": "llama"}
    files = [{**_FILE, **(file or {})}]
    return json.dumps({"models": {"m": {**model, "files": files, "shape": {**_SHAPE, **(shape or {})}, **changed}}})


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / model_lock.LOCK).write_text(_lock())
    models = model_lock.read(tmp_path).entries

    model_lock.write(tmp_path, models)

    assert model_lock.read(tmp_path).entries == models
    assert [path.name for path in tmp_path.iterdir()] == [model_lock.LOCK]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "<<<<<<< HEAD\n",
        "[" * 100_000,
        "\0",
        '{"models": []}',
        '{"models": {"m": null}}',
        _lock(files=[]),
        _lock(files={}),
        _lock(shape={"heads": "two"}),
        _lock(shape={"layer_bytes": [float("inf")]}),
        _lock(shape={"layer_bytes": 5}),
        _lock(architecture=None),
        *(_lock({"bytes": bytes_}) for bytes_ in (0, -5, "12", 1e30, float("inf"), 1 << 60)),
        *(_lock({"sha256": sha256}) for sha256 in ("../../../etc", "a" * 63, "A" * 64, 7)),
        *(_lock({"url": url}) for url in ("file:///etc/passwd.gguf", "http://[::1", "https://me:word@h/m.gguf", 7, "")),
        _lock({"tensor_types": "F16"}),
    ],
)
def test_a_lock_that_nobody_has_written_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / model_lock.LOCK).write_text(text)

    with pytest.raises(UsageError) as refused:
        model_lock.read(tmp_path)

    assert refused.value.what == "models.lock: it can't be read."
    assert "\n" not in str(refused.value.why)


def test_a_file_of_the_project_where_a_release_has_a_declared_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "m"\n[models.tiny]\nsource = "hf://acme/tiny/t.gguf"\n'
        '[services.a]\ncommand = ["true"]\nmodel = "tiny"\n'
        '[services.b]\ncommand = ["true"]\nmodel = "models/tiny.gguf"\n'
    )

    with pytest.raises(DeclarationError, match=r"services\.b\.model: that is where a release has models\.tiny"):
        load(tmp_path, without_targets=True, demand_secrets=False, environ={})

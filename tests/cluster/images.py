"""Images as `ctr images import` reads them (OCI image layout), made without an engine or registry."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_USER = "10001"  # as pods of ours run
_KIND = "application/vnd.oci.image"


def files(content: Mapping[str, Path], out: Path) -> Path:
    """A layer of nothing but these files, by their paths in it."""
    with tarfile.open(out, mode="w") as tar:
        for name, file in content.items():
            _add(tar, name, file.read_bytes(), 0o755)
    return out


def folder(content: Path, at: str, out: Path) -> Path:
    """A layer of all that a folder holds, with its links and modes, under `at`; root's, as after a COPY."""

    def of_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid, info.gid, info.uname, info.gname = 0, 0, "", ""
        return info

    with tarfile.open(out, mode="w") as tar:
        tar.add(content, arcname=at.strip("/"), filter=of_root)
    return out


def archive(name: str, layers: Sequence[Path], out: Path, **settings: object) -> str:
    """Write an image of `layers`; its digest.

    Args:
        name: with a registry's part and a tag, such as `localhost/web:1`.
        settings: of its containers: Entrypoint, WorkingDir, …
    """
    described = [_described(_sum(layer), layer.stat().st_size, "layer.v1.tar") for layer in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"User": _USER, **settings},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_KIND}.manifest.v1+json",
            "config": _described(_digest(config), len(config), "config.v1+json"),
            "layers": described,
        }
    ).encode()
    whole = _described(_digest(manifest), len(manifest), "manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [{**whole, "annotations": {"io.containerd.image.name": name}}]}
    with tarfile.open(out, mode="w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in (config, manifest):
            _add(tar, _place(_digest(blob)), blob)
        for layer, told in zip(layers, described, strict=True):
            tar.add(layer, arcname=_place(str(told["digest"])))
    return _digest(manifest)


class Images:
    """Those that a node has, by its containerd.

    Args:
        ctr: the command that speaks with it, and reads from here.
        disk: where archives are written.
    """

    def __init__(self, ctr: Sequence[str], disk: Path) -> None:
        self.ctr = ctr
        self._disk = disk

    def load(self, name: str, what: Path | Mapping[str, Path]) -> str:
        """Have one of a program, at /NAME, or of files there; the reference by digest that a pod names."""
        content = {name.rpartition("/")[2].partition(":")[0]: what} if isinstance(what, Path) else what
        return self.load_layers(
            name, [files(content, self._disk / "layer.tar")], Entrypoint=[f"/{next(iter(content))}"]
        )

    def load_layers(self, name: str, layers: Sequence[Path], **settings: object) -> str:
        """Have one of `layers` there, likewise; unpacked, which may take longer than a pod may to begin."""
        out = self._disk / "image.tar"
        reference = f"{name.rpartition(':')[0]}@{archive(name, layers, out, **settings)}"
        for words in (("import", "--local", "-"), ("tag", "--force", name, reference)):
            with out.open("rb") as image:
                command = [*self.ctr, "--namespace", "k8s.io", "images", *words]
                done = subprocess.run(command, stdin=image, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        out.unlink()
        return reference


def _described(digest: str, size: int, kind: str) -> dict[str, object]:
    return {"mediaType": f"{_KIND}.{kind}", "digest": digest, "size": size}


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _sum(file: Path) -> str:
    with file.open("rb") as read:
        return f"sha256:{hashlib.file_digest(read, 'sha256').hexdigest()}"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))

"""buildah, for machines without a Docker Engine: no daemon, and no times in what it builds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from provision.errors import DeployError, UsageError
from provision.images.build.engine import OnEvent
from provision.packages import install

_NAME = "localhost/bitnet-provision-build"


class BuildahBuilder:
    """Builds with the program on PATH.

    Args:
        storage: options of `buildah` itself, such as `--root DIR`.
    """

    def __init__(self, storage: tuple[str, ...] = ()) -> None:
        if shutil.which("buildah") is None:
            raise UsageError("buildah is not on PATH.", next_step=f"{install('buildah')}; or --builder docker")
        self.command = ["buildah", *storage]

    @property
    def version(self) -> str:
        return self._run("--version").strip()

    def build(
        self, context: Path, archive: Path, *, args: Mapping[str, str], platform: str, epoch: int, on_event: OnEvent
    ) -> list[str]:
        """As `DockerBuilder.build`."""
        on_event({"event": "message", "phase": "build", "text": f"{self.version}, {context.parent.name}"})
        layers: list[str] = []
        if base := args.get("BASE"):
            self._run("pull", "--quiet", "--policy", "missing", "--platform", platform, base)
            layers = json.loads(self._run("inspect", "--type", "image", base))["OCIv1"]["rootfs"]["diff_ids"]
        given = [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]
        # `--layers` keeps one for each COPY; the form `docker` has HEALTHCHECK, which OCI's has no place for.
        self._run(
            *("build", "--isolation", "chroot", "--timestamp", str(epoch), "--format", "docker"),
            *("--layers", "--no-cache", "--platform", platform, "--tag", _NAME, *given, str(context)),
        )
        archive.unlink(missing_ok=True)
        try:
            self._run("push", "--quiet", _NAME, f"docker-archive:{archive}:{_NAME}:latest")
        finally:
            self._run("rmi", "--force", _NAME)
        return layers

    def load(self, archive: Path) -> None:
        """Have the image in `archive`, for others to be built on.

        Raises:
            DeployError: buildah does not take it.
        """
        self._run("pull", "--quiet", f"docker-archive:{archive}")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeployError(f"buildah {arguments[0]} failed.", log=done.stderr.splitlines()[-12:])
        return done.stdout

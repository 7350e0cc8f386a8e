"""Compilers in a container, so that what is compiled does not depend on what this machine has.

images/builder/ says which: a Dockerfile, and packages.txt with exact versions, which go into the key of the build and
into build.json. The cache of native builds (sources, build trees, ccache) is mounted at the same path always, because
programs contain the paths of their sources; so a second build in a new container goes on where the first one was.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import BuildError, DockerException, ImageNotFound
from docker.types import Mount

from provision.errors import DeployError, UsageError
from provision.images.build.bake import FOLDER
from provision.images.build.engine import OnEvent
from provision.workbench import OnLine

_FOLDER = "builder"
_NAME = "bitnet-provision-builder"
_CACHE = "/cache"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}  # noqa: S108


def builder_image(client: docker.DockerClient, root: Path, base: str, on_event: OnEvent) -> str:
    """The image with the compilers; made once for what images/builder/ and the lock file say.

    Args:
        base: what it is made from, by digest.

    Raises:
        DeployError: it cannot be made: no network, or a package is no longer to be had in the pinned version.
    """
    folder = root / FOLDER / _FOLDER
    said = [base.encode(), *((folder / name).read_bytes() for name in ("Dockerfile", "packages.txt"))]
    name = f"{_NAME}:{hashlib.sha256(bytes(1).join(said)).hexdigest()[:16]}"
    try:
        client.images.get(name)
    except ImageNotFound:
        on_event({"event": "message", "phase": "build", "text": f"making {name} from {folder}"})
        try:
            client.images.build(path=str(folder), tag=name, buildargs={"BASE": base}, rm=True, forcerm=True)
        except DockerException as error:
            build_log = error.build_log if isinstance(error, BuildError) else ()
            said_last = [str(entry.get("stream", "")).strip() for entry in build_log]
            raise DeployError(
                "the image with the compilers could not be made.",
                why=str(error),
                log=[line for line in said_last if line][-12:],
                next_step=f"where a version is no longer to be had, take today's into {folder / 'packages.txt'}",
            ) from None
    return name


@contextmanager
def compilers(client: docker.DockerClient, image: str, root: Path, cache: Path) -> Iterator[Container]:
    """A container of `image` that is there for the time of the block.

    Raises:
        UsageError: the engine does not see this machine's files, or the image lacks a pinned package.
        DeployError: the engine refuses.
    """
    cache.mkdir(parents=True, exist_ok=True)
    api = client.api
    try:
        made = api.create_container(
            image,
            entrypoint=["cat"],
            # Its first process ends with its input, and the input with us, however we end; all others end with it.
            stdin_open=True,
            user=f"{os.getuid()}:{os.getgid()}",
            network_disabled=True,
            host_config=api.create_host_config(
                auto_remove=True,
                # A mount, and not a bind, which would make the folder where an engine elsewhere does not have it.
                mounts=[Mount(_CACHE, str(cache), type="bind")],
                tmpfs={"/tmp": "exec"},  # noqa: S108
                read_only=True,
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            ),
        )
        held = api.attach_socket(made["Id"], params={"stdin": 1, "stream": 1})
        api.start(made["Id"])
    except DockerException as error:
        if "bind source path does not exist" in str(error):
            raise _elsewhere(cache) from None
        raise DeployError(f"no container of {image} could be started.", why=str(error)) from None
    try:
        yield _checked(Container(client, made["Id"], cache, _pinned(root)), image, root)
    finally:
        held.close()
        with suppress(DockerException):  # it may have ended with its input already
            api.kill(made["Id"])


class Container:
    """A workbench (`provision.workbench`) in which the cache lies at `/cache`."""

    environment: Mapping[str, str] = _ENVIRONMENT

    def __init__(self, client: docker.DockerClient, identity: str, cache: Path, packages: Mapping[str, str]) -> None:
        self.packages = packages
        self.cache = cache
        self._api = client.api
        self._identity = identity

    def which(self, *names: str) -> str | None:
        found = self.ask("sh", "-c", 'for name; do command -v "$name" && exit; done; exit 1', "sh", *names)
        return found.stdout.strip() if found.returncode == 0 else None

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        made = self._exec(arguments, {}, self.cache)
        out, err = self._api.exec_start(made, demux=True)
        status = int(self._api.exec_inspect(made)["ExitCode"])
        return subprocess.CompletedProcess(arguments, status, (out or b"").decode(), (err or b"").decode())

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, on_line: OnLine, lock: int
    ) -> int:
        del lock  # the container does not outlive us, so nothing in it has to hold the lock
        made = self._exec(arguments, environment, folder)
        rest = b""
        for chunk in self._api.exec_start(made, stream=True):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace") + "\n")
        if rest:
            on_line(rest.decode(errors="replace"))
        return int(self._api.exec_inspect(made)["ExitCode"])

    def _exec(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
        given = {name: self._inside(value) for name, value in {**_ENVIRONMENT, **environment}.items()}
        command = [self._inside(word) for word in arguments]
        made = self._api.exec_create(self._identity, command, environment=given, workdir=self._inside(str(folder)))
        return str(made["Id"])

    def _inside(self, text: str) -> str:
        return text.replace(str(self.cache), _CACHE)


def _elsewhere(cache: Path) -> UsageError:
    return UsageError(
        "the engine does not see the files of this machine, so its containers cannot compile them.",
        why=f"{cache} has to be mounted into them.",
        next_step="deploy image build on the engine's machine, or leave --compile container out",
    )


def _pinned(root: Path) -> dict[str, str]:
    lines = (root / FOLDER / _FOLDER / "packages.txt").read_text(encoding="ascii").split()
    return dict(line.partition("=")[::2] for line in lines)


def _checked(container: Container, image: str, root: Path) -> Container:
    """`container`, if what it makes will be what any other of its kind makes."""
    seen = container.cache / f".seen-{secrets.token_hex(8)}"
    seen.touch()
    try:
        if container.ask("test", "-e", str(seen)).returncode != 0:
            raise _elsewhere(container.cache)
    finally:
        seen.unlink()
    shown = container.ask("dpkg-query", "--show", "--showformat", "${Package}=${Version}\n", *container.packages).stdout
    installed = dict(line.partition("=")[::2] for line in shown.split())
    wrong = [
        f"{name} {installed.get(name) or 'is missing'}, pinned is {version}"
        for name, version in container.packages.items()
        if installed.get(name) != version
    ]
    if wrong:
        raise UsageError(
            f"{image} is not the builder that {root / FOLDER / _FOLDER / 'packages.txt'} describes.",
            why="; ".join(wrong),
            next_step="leave --base builder=… out, and it is made",
        )
    return container

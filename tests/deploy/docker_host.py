"""A host with a Docker Engine of its own, and a registry that it sees."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.images.registry import registry
from tests.testbed import Kind, TestHost
from tests.testbed.docker import base, see, start_engine
from tests.testbed.slots import Slot

_numbers = itertools.count()


@dataclass
class DockerHost:
    """One that runs."""

    host: TestHost
    client: docker.DockerClient
    authority: str

    def running(self, project: str) -> set[str]:
        """What runs of a project, by the names that it has there."""
        return {each.name.removeprefix(f"{project}-") for each in self.client.containers.list()}

    def publish(
        self,
        *,
        keep: bool = False,
        user: str = "",
        labels: Mapping[str, str] | None = None,
        authority: str = "",
        name: str = "",
        program: Path | None = None,
    ) -> str:
        """A new image with Python in the registry, by digest; the engine forgets it unless it is to keep it.

        Args:
            program: lies in `/` of it, too.
        """
        name = name or f"{authority or self.authority}/app-{next(_numbers)}"
        self.client.api.tag("python:base", name, "1")
        labelled = self.client.containers.create(f"{name}:1", "true")
        if program is not None:
            with io.BytesIO() as packed:
                with tarfile.open(fileobj=packed, mode="w") as archive:
                    archive.add(program, program.name)
                labelled.put_archive("/", packed.getvalue())
        own = {"name": f"{name} {next(_numbers)}", **(labels or {})}
        labelled.commit(name, "1", conf={"Labels": own, "User": user})
        labelled.remove()
        self.client.images.push(name, "1")
        exact = next(item for item in self.client.images.get(f"{name}:1").attrs["RepoDigests"] if item.startswith(name))
        if not keep:
            self.client.images.remove(f"{name}:1")
        return str(exact)


@contextmanager
def engine_on_a_host(slot: Slot, folder: Path) -> Iterator[DockerHost]:
    """Fresh, with the image `python:base`; the registry keeps what it has in `folder`."""
    with registry(folder) as images, another(slot, images.authority) as found:
        found.client.api.import_image_from_file(str(base()), repository="python", tag="base")
        yield found


@contextmanager
def another(slot: Slot, authority: str) -> Iterator[DockerHost]:
    """Fresh, with no image, and with the registry in sight that another one has."""
    host = TestHost(Kind.SUPERVISORD, slot, workspace_size=3 << 30, engine=True)
    try:
        client = start_engine(host)
        relay = see(host.name, authority)
        yield DockerHost(host, client, authority)
        relay.close()
    finally:
        host.destroy()

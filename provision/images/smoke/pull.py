"""Getting the very image that is to be tried into an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from docker.errors import APIError, DockerException, ImageNotFound

from provision.errors import DeployError
from provision.images.build.engine import DockerBuilder
from provision.images.build.layout import OciLayout
from provision.images.registry.credentials import find
from provision.images.registry.labels import labels
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image


def pull(
    client: DockerClient, text: str, allowed: Callable[[str, Mapping[str, str]], None] | None = None
) -> tuple[Image, str, str]:
    """The image, its repository and its digest. A tag is resolved once, and what it meant then is pulled.

    Args:
        allowed: told its exact name and its labels before anything is pulled; raises what refuses it.

    Raises:
        RegistryFailed: the registry has no such image.
        DeployError: the engine can't pull it.
    """
    reference = parse(text)
    repository = connect(reference, write=False)
    digest = reference.digest
    if allowed or not digest:
        image = repository.get(reference.wanted or "canary")
        digest = image.digest
        if allowed:
            machine = str(client.info()["Architecture"])
            allowed(f"{reference.name}@{digest}", labels(repository, image, machine))
    who = find(reference.registry, own_token=True)
    login = {"username": who.user, "password": who.secret} if who and who.user else None
    login = {"identitytoken": who.secret} if who and not who.user else login
    exact = f"{reference.name}@{digest}"
    try:
        client.api.pull(reference.name, tag=digest, auth_config=login)
        return client.images.get(exact), reference.name, digest
    except DockerException as error:
        said = error.explanation if isinstance(error, APIError) else None
        raise DeployError(f"the engine could not pull {exact}.", why=str(said or error)) from None


def load(client: DockerClient, layout: OciLayout, name: str) -> Image:
    """The image in a folder; handed to the engine unless it has it."""
    try:
        return client.images.get(layout.config_digest)
    except ImageNotFound:
        archive = layout.folder.with_name("load.tar")
        layout.save(archive, f"{name}:built")
        try:
            DockerBuilder(client).load(archive)
        finally:
            archive.unlink()
        return client.images.get(layout.config_digest)

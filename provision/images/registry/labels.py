"""What an image says of itself, read without pulling it: the labels of its configuration."""

from __future__ import annotations

from provision.errors import RegistryFailed
from provision.images.registry.architectures import ARCHITECTURES
from provision.images.registry.documents import Descriptor, ImageManifest, Malformed, read_json
from provision.images.registry.repository import Repository


def labels(repository: Repository, image: ImageManifest, machine: str) -> dict[str, str]:
    """The labels of `image`; of an index, those of what it has for `machine`.

    Args:
        machine: as uname(2) calls it.

    Raises:
        RegistryFailed: something that it points at is not there, or is nothing that can be followed.
    """
    try:
        if listed := image.document.get("manifests"):
            image = repository.get(_of_machine(listed, machine))
        config = read_json(repository.content(Descriptor.from_json(image.document["config"])))
        found = (config.get("config") or {}).get("Labels") or {}
        return {str(name): str(value) for name, value in found.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed(f"{repository}@{image.digest} has no configuration that can be read.", why=str(error)) from None


def _of_machine(listed: list[dict[str, dict[str, str]]], machine: str) -> str:
    wanted = ARCHITECTURES.get(machine, machine)
    for entry in listed:
        if entry.get("platform", {}).get("architecture") == wanted:
            return str(entry["digest"])
    raise RegistryFailed(f"the image is for no machine such as {machine}.")

"""What hosts pull: the images of a release, what lets an engine do so, and what an image says of itself."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.platforms import Deployed
    from provision.release import Release


class Pulled:
    """The images that the containers of `release` are made of."""

    def __init__(self, release: Release, platform: Deployed) -> None:
        services = release.document["lanes"]["stable"]["services"]
        self.images = [image for service in services if (image := platform.image(service["manifest"]["text"]))]
        self._asking = threading.Lock()
        self._labels: dict[tuple[str, str], dict[str, str]] = {}

    @cached_property
    def logins(self) -> dict[str, str]:
        """By registry, what lets a host's engine pull from it: for one transaction, and never kept there.

        Raises:
            UsageError: the credentials at hand are not usable.
        """
        if not self.images:
            return {}
        from provision.images.registry.logins import logins

        return logins(self.images)

    def labels(self, image: str, machine: str) -> dict[str, str]:
        """What an image says of itself, asked of its registry, once for all hosts of a kind.

        Raises:
            RegistryFailed, Refused: the registry does not say.
        """
        from provision.images.registry.labels import labels
        from provision.images.registry.reference import parse
        from provision.images.registry.repository import connect

        with self._asking:
            if (image, machine) not in self._labels:
                reference = parse(image)
                repository = connect(reference, write=False)
                self._labels[image, machine] = labels(repository, repository.get(reference.digest), machine)
            return self._labels[image, machine]

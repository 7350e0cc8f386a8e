"""HashiCorp Nomad, by job files that people run."""

from provision.manifests.nomad import SECRETS, files
from provision.manifests.value import AtStart
from provision.platforms.face import RenderedContainers


class _Nomad(RenderedContainers):
    def secret_file(self, secret: str) -> tuple[str | AtStart, ...]:
        return (f"{SECRETS}/{secret}",)


FACE = _Nomad("nomad", files)

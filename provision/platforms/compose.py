"""Docker Compose, on one machine."""

from provision.manifests.compose import files
from provision.platforms.face import RenderedContainers

FACE = RenderedContainers("compose", files)

"""Kubernetes, by files that people apply."""

from provision.manifests.kubernetes import files
from provision.platforms.face import RenderedContainers

FACE = RenderedContainers("kubernetes", files)

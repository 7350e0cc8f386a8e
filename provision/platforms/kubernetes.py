"""Kubernetes, by files that people apply."""

from provision.manifests.kubernetes import files
from provision.platforms.face import Rendered

FACE = Rendered("kubernetes", files)

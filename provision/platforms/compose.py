"""Docker Compose, on one machine."""

from provision.manifests.compose import files
from provision.platforms.face import Rendered

FACE = Rendered("compose", files)

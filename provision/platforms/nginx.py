"""nginx, in front of services."""

from provision.manifests.nginx import files
from provision.platforms.face import Rendered

FACE = Rendered("nginx", files)

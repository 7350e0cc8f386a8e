"""The images of a project's own services, for whoever builds them."""

from provision.manifests.dockerfile import files
from provision.platforms.face import Rendered

FACE = Rendered("dockerfile", files)

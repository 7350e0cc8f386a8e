"""The firewall of a host."""

from provision.manifests.ufw import files
from provision.platforms.face import Rendered

FACE = Rendered("ufw", files)

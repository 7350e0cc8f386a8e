"""Prometheus and Grafana, which watch a project."""

from provision.manifests.monitoring import files
from provision.platforms.face import Rendered

FACE = Rendered("monitoring", files)

"""Images in registries: what a name means, and reading and writing them byte for byte."""

from provision.images.registry.reference import Reference, parse
from provision.images.registry.repository import Repository, connect

__all__ = ["Reference", "Repository", "connect", "parse"]

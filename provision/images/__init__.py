"""Images in registries: what a name means, and reading and writing them byte for byte."""

from provision.images.reference import Reference, parse
from provision.images.repository import Repository, connect

__all__ = ["Reference", "Repository", "connect", "parse"]

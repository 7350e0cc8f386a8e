"""What is shipped: a project's files, models and rendered manifests under one id."""

from provision.release.build import FileEntry, Release, build
from provision.release.hashing import Hashing
from provision.release.model_file import ModelFile

__all__ = ["FileEntry", "Hashing", "ModelFile", "Release", "build"]

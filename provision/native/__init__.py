"""Builds the llama.cpp and BitNet binaries from pinned sources, and makes the model that the demo serves."""

from provision.native.build import BuildResult, build
from provision.native.cache import Cache
from provision.native.data import TARGETS, Profile, profiles

__all__ = ["TARGETS", "BuildResult", "Cache", "Profile", "build", "profiles"]

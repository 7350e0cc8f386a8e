"""Deployment and provisioning toolkit: one declaration, every place it runs, and proof before anyone depends on it."""

from bitnet import __version__ as __version__

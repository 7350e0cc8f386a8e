"""Deployment and provisioning toolkit: one declaration, every place it runs, and proof before anyone depends on it."""

__version__ = "0.1.0"

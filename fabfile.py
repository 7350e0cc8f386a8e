"""The rooms of `deploy` as Fabric tasks, for this checkout: `fab --list`. For a project of your own: docs/fabric.md."""

from provision.tasks import ns

__all__ = ["ns"]

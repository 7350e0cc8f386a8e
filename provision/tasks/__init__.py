"""Fabric tasks: `from provision.tasks import ns` in a fabfile, and `fab --list` has every room of `deploy`.

`ns` is the collection. The functions are the same rooms, to call from tasks of one's own: with a connection they mean
its host, with a plain context all hosts of the target. `task` makes a task that runs on the target's hosts, and
`on_hosts` gives those connections in the middle of one: Fabric's, over SSH with pinned keys. See docs/fabric.md.
"""

from provision.tasks.collection import ns
from provision.tasks.hosts import bootstrap, trust
from provision.tasks.on_hosts import on_hosts, task
from provision.tasks.parts import build_images, build_native, check, promote_image, render, smoke_image
from provision.tasks.rooms import down, execute, history, logs, plan, promote, rollback, smoke, status, up

__all__ = [
    "bootstrap",
    "build_images",
    "build_native",
    "check",
    "down",
    "execute",
    "history",
    "logs",
    "ns",
    "on_hosts",
    "plan",
    "promote",
    "promote_image",
    "render",
    "rollback",
    "smoke",
    "smoke_image",
    "status",
    "task",
    "trust",
    "up",
]

"""The systemd target that all programs of a project are parts of. Pure: the toolkit shows it, the agent writes it."""

from __future__ import annotations

_TARGET = """\
# All programs of a project. Written by deploy, which removes it with the last of them.

[Unit]
Description={name}: all of its programs

[Install]
WantedBy={wanted_by}
"""


def target_unit(group: str, user_units: bool) -> str:
    """The unit file of the target `group`."""
    wanted_by = "default.target" if user_units else "multi-user.target"
    return _TARGET.format(name=group[: -len(".target")], wanted_by=wanted_by)

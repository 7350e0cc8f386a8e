"""Where programs would write into their release: it is read-only on a host, and the next one is another folder."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from provision.contract.names import below
from provision.project.fault import Fault
from provision.project.rules.view import service_texts
from provision.project.schema import Project

# SQLAlchemy, "Database URLs": three slashes before a path from the working directory, four before one from /.
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!/|:memory:|file:)(?P<path>[^?\s]+)")


def lost(project: Project) -> Iterator[Fault]:
    """The databases in files of the release, but for those in folders of `data`."""
    if not any(target.can.on_host for target in project.targets.values()):
        return
    for name, service in project.services.items():
        for path, text in service_texts(name, service):
            found = None if text.refs or text.secrets else _SQLITE.search(text.text)
            place = posixpath.normpath(found["path"]) if found else ""
            if not place or path[2] not in ("command", "env") or below(place, service.data):
                continue
            folder = posixpath.dirname(place)
            message = "this database lies in the release, which is read-only, and the next release has none of it."
            hint = f'Keep its folder: services.{name}.data = ["{folder}"].'
            if not folder:
                hint = 'Let it lie in a folder that stays: sqlite:///var/app.db, and data = ["var"] below it.'
            yield Fault(path, message, hint)

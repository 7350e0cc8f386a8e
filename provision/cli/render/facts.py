"""What a host is and has, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provision.cli.render import columns
from provision.project.units import size


def facts_lines(facts: dict[str, Any]) -> Iterator[str]:
    machine, project = facts["machine"], facts["project"]
    cpu, memory = machine["cpu"], machine["memory"]
    yield f"{facts['host']}: {machine['hostname']}, Linux {machine['kernel']} on {machine['arch']}"
    rows = [
        ["processor", f"{cpu['model'] or 'unknown'}, {cpu['usable']} of {cpu['count']} cores usable"],
        ["features", " ".join(cpu["features"])],
        ["memory", f"{size(memory['available'])} of {size(memory['total'])} available"],
        ["disk", f"{size(project['disk']['free'])} of {size(project['disk']['total'])} free"],
        *(
            [gpu["name"], f"{size(gpu['memory_free'])} of {size(gpu['memory_total'])} free, {gpu['uuid']}"]
            for gpu in facts["gpus"]
        ),
        ["user", f"{machine['user']} (uid {machine['uid']})"],
        ["init", machine["init"]],
        ["python", machine["python"]],
        *([tool, path or "missing"] for tool, path in machine["tools"].items()),
        ["releases", " ".join(release[:12] for release in project["releases"]) or "none"],
    ]
    yield from columns(rows, indent="  ")

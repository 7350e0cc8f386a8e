"""What docs/deploy.toml.md tells of platforms is what the table in the code says. Written anew with: make golden"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.project.platforms import PLATFORMS, Abilities, Platform

DOCUMENT = Path(__file__).parents[2] / "docs/deploy.toml.md"
SAID = {True: "yes", False: "no", None: ""}
ROWS: list[tuple[str, Callable[[Abilities], bool | None]]] = [
    ("`deploy up` brings a project there", lambda can: can.over_ssh or can.in_cluster),
    ("a service is a process of the host, with a launcher; else a container", lambda can: can.on_host),
    ("a service may be given the host's Docker Engine (`docker`), or the wheel engine", lambda can: can.on_host),
    ("a batch may start with a deploy; else it is `on_demand`", lambda can: not can.on_host),
    ("`user_units`", lambda can: can.user_units),
    ("`supervisor_config`", lambda can: can.own_config),
    ("`restart`: `on`, `limit`", lambda can: {"on", "limit"} <= set(can.restart)),
    ("`restart`: `delay`, `window`", lambda can: {"delay", "window"} <= set(can.restart)),
    ("`group`", lambda can: can.groups),
    (
        "stops a service by itself only when it is idle; else a deploy waits for that",
        lambda can: can.waits if can.over_ssh else None,
    ),
]


def abilities() -> list[str]:
    lines = ["| | " + " | ".join(Platform) + " |", "|---|" + "---|" * len(Platform)]
    return lines + [
        f"| {says} | " + " | ".join(SAID[has(PLATFORMS[each])] for each in Platform) + " |" for says, has in ROWS
    ]


def secret_files() -> list[str]:
    rows = [f"| {name} | {can.secret_file} |" for name, can in PLATFORMS.items() if can.secret_file]
    return ["| platform | the file |", "|---|---|", *rows]


@pytest.mark.parametrize("table", [abilities, secret_files])
def test_a_table_of_platforms_is_as_reviewed(table: Callable[[], list[str]]) -> None:
    lines = "\n".join(table()) + "\n"
    there = re.compile(rf"(?m)^{re.escape(table()[0])}\n(?:\|.*\n)+")
    if os.environ.get("REWRITE_GOLDEN"):
        DOCUMENT.write_text(there.sub(lambda _: lines, DOCUMENT.read_text()))

    assert there.findall(DOCUMENT.read_text()) == [lines]

"""A configuration is judged with our rights, in a folder that a container's program may write to."""

from __future__ import annotations

from pathlib import Path

from provision.agent.front import configuration

_FORGES = """#!/bin/sh
# In place of HAProxy: whoever writes to the folder does so before the file is read.
for each in "$4"/* "$4"/.[!.]*; do [ -f "$each" ] && echo forged >"$each"; done
cat "$6" >"$0.read"
"""


def test_what_is_judged_is_what_was_written_whoever_writes_to_the_folder(tmp_path: Path) -> None:
    folder, program = tmp_path / "traffic", tmp_path / "haproxy"
    folder.mkdir()
    (folder / configuration.NAME).write_text("before")
    program.write_text(_FORGES)
    program.chmod(0o755)

    configuration.judge("global\n", str(program), str(folder))

    assert Path(f"{program}.read").read_text() == "global\n"
    assert [each.name for each in folder.iterdir()] == [configuration.NAME]

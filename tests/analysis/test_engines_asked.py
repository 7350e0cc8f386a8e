"""The keeper asks engines for their tokens in a child; one that could not ask says nothing of engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision.agent.keeper.home import Keeper
from provision.contract.layout import Layout


@pytest.mark.parametrize(
    ("answer", "asks_on"),
    [
        (b"", True),  # it was too slow, or was killed
        (b'{"llama": {"sta', True),
        (b"{}", False),
        (b'{"llama": {"stable": [12.0, 1.5]}}', True),
    ],
)
def test_engines_are_asked_again_unless_it_is_known_that_there_are_none(
    answer: bytes, asks_on: bool, tmp_path: Path
) -> None:
    layout = Layout(str(tmp_path))
    Path(layout.traffic).mkdir(parents=True)
    Path(layout.traffic).chmod(0o700)
    keeper = Keeper(layout, "agent")
    keeper._has_engines = True
    keeper._due["tokens"] = float("inf")
    keeper.engines._pipe, to = os.pipe()
    keeper.engines._child = os.posix_spawn("/bin/true", ["true"], {})
    os.write(to, answer)
    os.close(to)

    keeper._tokens([keeper.engines])

    assert keeper.engines.waiting == []
    assert keeper._has_engines is asks_on

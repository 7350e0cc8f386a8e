"""The supervisord that is ours is asked only over a socket that is ours: it may lie in /tmp."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from provision.agent.folders import STATE_DIR_VARIABLE
from provision.agent.supervisors.supervisord import Supervisord
from provision.contract.failure import Failure
from provision.contract.layout import Layout


@pytest.mark.root
def test_a_socket_that_somebody_else_put_there_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep-" * 12) / ("deeper-" * 8)
    deep.mkdir(parents=True)
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(deep))
    supervisor = Supervisord(Layout(str(tmp_path / "project")))
    place = Path(supervisor.instance.socket)
    assert place.parent == Path("/tmp")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        try:
            listener.listen()
            os.chown(place, 65534, 65534)
            with pytest.raises(Failure, match=f"{place} is another user's socket"):
                supervisor.answers()
        finally:
            place.unlink()

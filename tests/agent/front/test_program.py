"""Which HAProxy a host is given."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from provision import haproxy as pinned
from provision.agent.front import program
from provision.agent.front.values import DRAIN
from provision.contract.failure import Failure
from tests.agent.front.stand import Crowd, haproxy, standing

_NOWHERE = "/nowhere"


@pytest.fixture(scope="module")
def wheel() -> Path:
    return pinned.wheel(platform.machine(), lambda _: None)


@pytest.fixture(scope="module")
def sha256() -> str:
    return pinned.wheels()[platform.machine()]["sha256"]


def test_the_hosts_own_is_taken_where_it_is_good_enough(tmp_path):
    assert program.find(str(tmp_path)) == haproxy()
    assert program.judge(haproxy()) >= program.LEAST


def test_the_shipped_one_serves_where_there_is_none(wheel, sha256, tmp_path):
    with pytest.raises(Failure, match="no HAProxy"):
        program.find(str(tmp_path), sha256, _NOWHERE)
    shipped = program.adopt(str(wheel), sha256, str(tmp_path))
    assert program.find(str(tmp_path), sha256, _NOWHERE) == shipped
    assert program.find(str(tmp_path), sha256) == haproxy()

    with standing(shipped) as stand:
        stand.start("a")
        stand.start("b")
        a, b = stand.server("a"), stand.server("b")
        stand.serve(stand.front(a))
        with Crowd(stand) as crowd:
            stand.runtime.become(stand.front(a, b._replace(state=DRAIN)))
            stand.runtime.become(stand.front(a, b._replace(state=DRAIN), held=True))
            stand.runtime.become(stand.front(a._replace(state=DRAIN), b))
            crowd.more()
        assert crowd.failed == []
        assert stand.get().program == "b"


def test_one_that_was_cut_off_or_damaged_is_no_program(wheel, sha256, tmp_path):
    cut = tmp_path / "wheel"
    cut.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(Failure):
        program.adopt(str(cut), sha256, str(tmp_path / "kept"))
    assert not list((tmp_path / "kept").glob("*"))

    shipped = Path(program.adopt(str(wheel), sha256, str(tmp_path / "kept")))
    (shipped.parent / ".complete").unlink()
    with pytest.raises(Failure, match="no HAProxy"):
        program.find(str(tmp_path / "kept"), sha256, _NOWHERE)
    assert program.adopt(str(wheel), sha256, str(tmp_path / "kept")) == str(shipped)


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ("HAProxy version 2.4.22 2023/02/14", "2.4"),
        ("HAProxy version 3.0.1 2026/01/01\nBuilt without OpenSSL support", "OpenSSL"),
        ("nginx version: nginx/1.22.1", "no HAProxy"),
    ],
)
def test_what_is_no_front_is_named(says, what, tmp_path):
    own = tmp_path / "haproxy"
    own.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    own.chmod(0o755)
    with pytest.raises(Failure, match=what):
        program.find(str(tmp_path), path=str(tmp_path))


def test_the_shipped_one_stands_in_for_one_that_is_too_old(wheel, sha256, tmp_path):
    own = tmp_path / "haproxy"
    own.write_text("#!/bin/sh\necho 'HAProxy version 2.4.22'\n")
    own.chmod(0o755)
    shipped = program.adopt(str(wheel), sha256, str(tmp_path / "kept"))
    assert program.find(str(tmp_path / "kept"), sha256, str(tmp_path)) == shipped
    assert shutil.which("haproxy", path=str(tmp_path)) == str(own)

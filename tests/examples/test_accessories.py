"""What services need beside them: started before them, proven, and left alone by their releases."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.cli.ports import free_ports
from tests.examples.sandbox import Sandbox, sandbox

_DECLARED = """\
[project]
name = "shop"

[services.counter]
command = ["python3", "counter.py", "${port}", "${services.redis.port}"]
port = COUNTER
after = ["redis"]
check = { tcp = "${port}", timeout = "60s" }

[services.redis]
preset = "redis"
port = REDIS

[targets.sandbox]
hosts = ["sandbox"]
path = "${PLACE}"
"""
# Counts in redis, which it needs from its first moment on.
_COUNTER = """\
import socket, sys
address = ("127.0.0.1", int(sys.argv[2]))
socket.create_connection(address).close()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    with socket.create_connection(address) as redis:
        redis.sendall(b"INCR visits\\r\\n")
        client.sendall(redis.recv(100))
    client.close()
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Sandbox]:
    counter, redis = free_ports(2)
    with sandbox({}) as made:
        made.root.mkdir()
        declared = _DECLARED.replace("COUNTER", str(counter)).replace("REDIS", str(redis))
        (made.root / "deploy.toml").write_text(declared)
        (made.root / "counter.py").write_text(_COUNTER)
        made.environ["COUNTER"] = str(counter)
        made.deploy("up")
        yield made


def visit(shop: Sandbox) -> int:
    with socket.create_connection(("127.0.0.1", int(shop.environ["COUNTER"])), timeout=30) as connection:
        return int(connection.recv(100).strip(b":\r\n"))


def test_a_store_is_up_before_who_needs_it_and_no_release_of_theirs_restarts_it(shop: Sandbox) -> None:
    before, first = shop.programs(), visit(shop)
    (shop.root / "counter.py").write_text(_COUNTER + "# a comment\n")

    shop.deploy("up")

    after = shop.programs()
    assert after["redis"]["pid"] == before["redis"]["pid"]
    assert after["counter"]["pid"] != before["counter"]["pid"]
    assert visit(shop) > first


def test_a_store_keeps_what_it_has_when_it_is_declared_anew(shop: Sandbox) -> None:
    before, first = shop.programs(), visit(shop)
    declared = (shop.root / "deploy.toml").read_text()
    changed = declared.replace('preset = "redis"', 'preset = "redis"\nenv = { TZ = "UTC" }')
    (shop.root / "deploy.toml").write_text(changed)

    shop.deploy("up")

    assert shop.programs()["redis"]["pid"] != before["redis"]["pid"]
    assert visit(shop) > first

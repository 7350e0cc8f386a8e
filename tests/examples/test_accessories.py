"""What services need beside them: started before them, proven, and left alone by their releases."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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


# The programs come from PyPI, into the environment of the tests.
_STORES = """\
[project]
name = "stores"

[services.temporal]
preset = "temporal"
port = TEMPORAL
env = { PATH = "${BIN}:/usr/bin:/bin" }

[services.temporal.check]
command = ["${BIN}/temporal", "operator", "cluster", "health", "--address", "127.0.0.1:${port}"]
timeout = "2m"

[services.s3]
preset = "s3"
port = S3
env = { PATH = "${BIN}:/usr/bin:/bin" }

[targets.sandbox]
hosts = ["sandbox"]
path = "${PLACE}"
"""


@pytest.mark.slow
def test_temporal_keeps_its_namespaces_and_the_s3_store_lets_nobody_in_without_a_key() -> None:
    """Both as their presets say it. Slow, for the store's other ports are the same everywhere."""
    temporal, s3 = free_ports(2)
    programs = Path(sys.executable).parent
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}

    def namespace(verb: str) -> None:
        command = [programs / "temporal", "operator", "namespace", verb, "--namespace", "orders"]
        subprocess.run([*command, "--address", f"127.0.0.1:{temporal}"], check=True, capture_output=True)

    with sandbox({"BIN": str(programs), **keys}) as stores:
        stores.root.mkdir()
        declared = _STORES.replace("TEMPORAL", str(temporal)).replace("S3", str(s3))
        (stores.root / "deploy.toml").write_text(declared)
        stores.deploy("up")
        before = stores.programs()
        namespace("create")
        (stores.root / "deploy.toml").write_text(declared.replace("env = {", 'env = { TZ = "UTC",'))

        stores.deploy("up")

        namespace("describe")
        after = stores.programs()
        assert all(after[name]["pid"] != before[name]["pid"] for name in ("temporal", "s3"))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{s3}/pictures", timeout=60)

"""The line to a host can be cut, mended, made long, slow and lossy, and connections see just that."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.testbed import Kind, Slot, TestHost
from tests.testbed.distance import distance
from tests.testbed.fixtures import MakeHost

pytestmark = pytest.mark.root

_ECHO = """
import socket
listener = socket.create_server(("", 7))
print("ready", flush=True)
while True:
    line = listener.accept()[0]
    while data := line.recv(65536):
        line.sendall(data)
"""


@contextlib.contextmanager
def echo(host: TestHost) -> Iterator[socket.socket]:
    """A connection to a server on the host that sends back what it gets."""
    with subprocess.Popen(host.inside(["python3", "-c", _ECHO]), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            with socket.create_connection((host.address, 7), timeout=10) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield line
        finally:
            server.kill()


def round_trip_ms(line: socket.socket) -> float:
    """How long one byte takes to and fro; tests look at the least of several, free of what a busy machine adds."""
    began = time.perf_counter()
    line.sendall(b"x")
    assert line.recv(1) == b"x"
    return (time.perf_counter() - began) * 1000


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_a_cut_line_is_silent_and_a_mended_one_goes_on_where_it_was(make_host: MakeHost, *, far: bool) -> None:
    host = make_host(Kind.BARE)
    with distance(host, rtt_ms=20) if far else contextlib.nullcontext(), echo(host) as line:
        round_trip_ms(line)
        host.cut()
        line.sendall(b"y")
        line.settimeout(0.7)
        with pytest.raises(TimeoutError):
            line.recv(1)
        assert host.exec(["echo", "inside"]).stdout == "inside\n"

        host.mend()
        line.settimeout(10)

        assert line.recv(1) == b"y"


def test_a_host_boots_while_it_is_cut_off(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE)
    host.cut()

    host.reboot()

    with pytest.raises(OSError), socket.create_connection((host.address, host.port), timeout=0.5):
        pass
    host.mend()
    with socket.create_connection((host.address, host.port), timeout=10) as line:
        assert line.recv(4) == b"SSH-"


def test_distance_is_a_round_trip_longer_and_ends_with_connections_alive(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE)
    with echo(host) as line:
        near = min(round_trip_ms(line) for _ in range(20))
        with distance(host, rtt_ms=50):
            far = min(round_trip_ms(line) for _ in range(20))
        again = min(round_trip_ms(line) for _ in range(20))

    assert near < 10
    assert 50 <= far < 60
    assert again < 10


def test_two_hosts_are_far_at_once_and_a_reboot_keeps_the_distance(make_host: MakeHost) -> None:
    hosts = make_host(Kind.BARE), make_host(Kind.BARE)
    with distance(*hosts, rtt_ms=30):
        hosts[0].reboot()
        for host in hosts:
            with echo(host) as line:
                assert 30 <= min(round_trip_ms(line) for _ in range(10)) < 45


def test_a_far_host_that_is_destroyed_leaves_the_others_far(slot: Slot, make_host: MakeHost) -> None:
    stays, goes = make_host(Kind.BARE), TestHost(Kind.BARE, slot)
    with distance(goes, stays, rtt_ms=30):
        goes.destroy()
        with echo(stays) as line:
            assert 30 <= min(round_trip_ms(line) for _ in range(10)) < 45


def test_a_line_is_no_faster_than_its_rate(make_host: MakeHost) -> None:
    host, size = make_host(Kind.BARE), 1 << 20
    with distance(host, rtt_ms=10, bytes_per_second=1e6), echo(host) as line:
        began = time.perf_counter()
        sender = threading.Thread(target=line.sendall, args=(bytes(size),))
        sender.start()
        got = 0
        while got < size:
            got += len(line.recv(65536))
        sender.join()
        seconds = time.perf_counter() - began

    assert 0.9 < seconds < 3


def test_bytes_arrive_in_order_over_a_line_that_loses_some(make_host: MakeHost) -> None:
    host = make_host(Kind.BARE)
    with distance(host, rtt_ms=4, loss=0.03), echo(host) as line:
        sent = bytes(range(256)) * 400
        sender = threading.Thread(target=line.sendall, args=(sent,))
        sender.start()
        got = b""
        while len(got) < len(sent):
            got += line.recv(65536)
        sender.join()

    assert got == sent

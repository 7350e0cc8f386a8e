"""Distance between this machine and others in network namespaces: delay, rate and loss, in user space.

The kernel here has no netem, so packets take a way through two TUN devices, one on each side, and this program
carries them across: late by half a round trip, no faster than the rate, some not at all. Both sides reach each other
under the addresses that they have anyway, because a route to the single address is narrower than the subnet's.

    with distance([Far("dt0-1", "198.18.0.1", "198.18.0.254")], rtt_ms=50):
        ...

or `python benchmarks/wan.py '{"ends": [["NAMESPACE", "ADDRESS", "HERE"]], "rtt_ms": 50}'` until it is ended.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# linux/if_tun.h: the request that names a device; a TUN without the extra packet header.
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# What a router holds while a line is busy; more is dropped from the tail.
_QUEUE_BYTES = 256 * 1024
_READS_A_TURN = 64  # before the packets that are due get their turn again


@dataclass(frozen=True)
class Far:
    """The far end: its namespace (`ip netns`), its address, and the address under which it knows this machine."""

    namespace: str
    address: str
    here: str


@dataclass
class Line:
    """One direction of one connection: what comes out of `out`, and when."""

    out: int
    delay_seconds: float
    bytes_per_second: float
    loss: float
    busy_until: float = field(default=0.0)

    def due(self, size: int, now: float) -> float | None:
        """When a packet of `size` bytes that arrives `now` comes out at the other end; None if it is lost."""
        if self.loss and random.random() < self.loss:
            return None
        sent = now
        if self.bytes_per_second:
            if (self.busy_until - now) * self.bytes_per_second > _QUEUE_BYTES:
                return None
            self.busy_until = sent = max(self.busy_until, now) + size / self.bytes_per_second
        return sent + self.delay_seconds


@contextlib.contextmanager
def distance(ends: Sequence[Far], *, rtt_ms: float, bytes_per_second: float = 0, loss: float = 0.0) -> Iterator[None]:
    """Put these machines so far away while this lasts; connections live through both its beginning and its end.

    Args:
        ends: machines, each with a line of its own.
        rtt_ms: the round trip's length; half of it is spent each way.
        bytes_per_second: of each direction of each line; 0 for as fast as it goes.
        loss: the share of packets, 0 to 1, that vanish in each direction.

    Raises:
        RuntimeError: the devices could not be made; the message says why.
    """
    order = {
        "ends": [[end.namespace, end.address, end.here] for end in ends],
        "rtt_ms": rtt_ms,
        "bytes_per_second": bytes_per_second,
        "loss": loss,
    }
    carrier = subprocess.Popen(
        [sys.executable, "-I", __file__, json.dumps(order)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert carrier.stdout is not None
    try:
        if carrier.stdout.readline() != "ready\n":
            _, said = carrier.communicate()
            raise RuntimeError(f"no distance: {said.strip()}")
        yield
    finally:
        carrier.kill()  # its devices and their routes go with it
        carrier.communicate()


def carry(lines: dict[int, Line]) -> None:
    """Move packets for ever: what is read from a device goes out of its line's other end when it is due."""
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0  # keeps packets that are due together in order
    while True:
        # select rather than epoll: its time-out is finer than a millisecond.
        pause = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        for device in select.select(list(lines), [], [], pause)[0]:
            for packet in _read(device):
                due = lines[device].due(len(packet), time.monotonic())
                if due is not None:
                    number += 1
                    heapq.heappush(waiting, (due, number, lines[device].out, packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, out, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):  # a full or a downed device drops, as a line does
                os.write(out, packet)


def _read(device: int) -> Iterator[bytes]:
    """What has arrived; nothing from a device that is down or whose namespace has gone."""
    try:
        for _ in range(_READS_A_TURN):
            yield os.read(device, 65536)
    except BlockingIOError:
        return
    except OSError:
        time.sleep(0.001)  # such a device is always said to be readable


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _ip(*lines: str, namespace: str = "") -> None:
    inside = ["-netns", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _connect(end: Far, delay: float, rate: float, loss: float) -> dict[int, Line]:
    """Both devices of one line: `w` with the namespace's name here, `wan0` over there."""
    near_name = f"w{end.namespace}"[:14]  # a device's name has at most 15 characters
    near, far = _tun(near_name), _tun(f"{near_name}x")
    _ip(f"link set {near_name}x netns {end.namespace} name wan0")
    # A long queue: bursts are the line's to drop, not the device's.
    up = "up txqueuelen 5000"
    _ip(f"link set wan0 {up}", f"route add {end.here}/32 dev wan0 src {end.address}", namespace=end.namespace)
    _ip(f"link set {near_name} {up}", f"route add {end.address}/32 dev {near_name} src {end.here}")
    return {near: Line(far, delay, rate, loss), far: Line(near, delay, rate, loss)}


def main() -> None:
    """Carry packets as the JSON argument orders, after saying `ready`."""
    order = json.loads(sys.argv[1])
    values = order["rtt_ms"] / 2000, order.get("bytes_per_second", 0), order.get("loss", 0.0)
    if not Path("/dev/net/tun").exists():
        sys.exit("/dev/net/tun is missing: modprobe tun, or give the container the device")
    lines: dict[int, Line] = {}
    for end in order["ends"]:
        lines |= _connect(Far(*end), *values)
    print("ready", flush=True)
    carry(lines)


if __name__ == "__main__":
    main()

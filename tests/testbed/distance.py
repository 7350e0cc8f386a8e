"""Distance to hosts of the test bed; the carrier of packets is the benchmarks' own."""

import contextlib

from benchmarks.wan import Far
from benchmarks.wan import distance as _distance
from tests.testbed.host import TestHost


def distance(
    *hosts: TestHost, rtt_ms: float, bytes_per_second: float = 0, loss: float = 0.0
) -> contextlib.AbstractContextManager[None]:
    """Put hosts far away while this lasts, under the addresses that they have: `with distance(host, rtt_ms=50):`.

    `cut` and `mend` work on a far host too, and it stays far when it reboots.
    """
    ends = [Far(host.name, host.address, host.slot.gateway) for host in hosts]
    return _distance(ends, rtt_ms=rtt_ms, bytes_per_second=bytes_per_second, loss=loss)

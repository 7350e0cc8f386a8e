"""The cluster of these tests: one for all of them, and left out where nobody has built it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.parts import missing
from tests.cluster.running import Cluster
from tests.testbed.slots import Slot


@pytest.fixture(scope="session")
def api_server(slot: Slot) -> Iterator[Cluster]:
    """A store and an API server, without controllers: what is applied is judged and kept, and nothing runs."""
    if lacking := missing():
        pytest.skip(f"{' and '.join(lacking)} are not built: make cluster (once, 10 minutes)")
    cluster = Cluster(slot)
    yield cluster
    cluster.destroy()

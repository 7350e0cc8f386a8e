"""A front of one test's own."""

from collections.abc import Iterator

import pytest

from tests.agent.front.stand import Stand, standing


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as found:
        yield found

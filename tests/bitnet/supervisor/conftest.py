from __future__ import annotations

import pytest

from tests.bitnet.spans import spans as spans
from tests.bitnet.supervisor.programs import PrintingRuntime, Recording, look_around


@pytest.fixture
def runtime() -> PrintingRuntime:
    return PrintingRuntime()


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture(autouse=True)
def surroundings() -> None:
    look_around()

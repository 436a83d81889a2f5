"""What tests that start processes share."""

from collections.abc import Iterator

import pytest

from support.processes import STARTED


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """End what a test that failed has left at work."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()

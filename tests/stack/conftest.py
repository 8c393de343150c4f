"""What the stack's tests test is the embedded store, whatever other tests run against."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def store(embedded_store: Any) -> Any:
    """The embedded store, one for the whole session: do not stop it."""
    return embedded_store

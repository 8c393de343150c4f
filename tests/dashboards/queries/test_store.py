"""How the dashboard asks the store, and what becomes of its errors."""

import pytest

from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_dashboards.queries import store


def test_a_refused_query_says_why(lab):
    """An error of the store is one sentence without a traceback, and the next query works."""
    with pytest.raises(QueryFailed) as caught:
        store.rows("SELECT no_such_column FROM runs")
    assert str(caught.value).startswith("Unknown expression") and "http" not in str(caught.value)
    assert store.answers()


def test_a_store_without_tables_is_not_ready(lab):
    """Before the consumer has made the tables the dashboard waits, as for a store that does not answer."""
    with pytest.raises(StoreAway, match="consumer"):
        store.rows("SELECT * FROM no_such_table")


def test_the_dashboard_may_only_read(lab):
    """The user that the dashboard reads as cannot change anything."""
    with pytest.raises(QueryFailed):
        store.rows(f"DROP TABLE {lab.database}.metrics")

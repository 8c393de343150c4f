"""Where the store is."""

import json

import pytest

from runtide_dashboards.address import Address, find
from runtide_dashboards.errors import StoreAway


def test_the_url_of_the_environment_wins(tmp_path):
    """The variable outranks the stack's file, and a password may have any character."""
    (tmp_path / "stack.json").write_text("{}")
    environ = {"RUNTIDE_DIR": str(tmp_path), "RUNTIDE_CLICKHOUSE_URL": "https://me:p%40ss%2F@db.example:9440/runs"}
    assert find(environ) == Address("db.example", 9440, "me", "p@ss/", "runs", True)


def test_the_stack_of_this_machine_is_read_as_the_reader(tmp_path):
    """Beside a running stack nothing needs to be configured, and the writer's password is not used."""
    stack = {"store_url": "http://127.0.0.1:4242", "store_password": "secret", "database": "runtide"}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    assert find({"RUNTIDE_DIR": str(tmp_path)}) == Address("127.0.0.1", 4242, "reader", "", "runtide")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"store_url": 3}', '{"store_url": "127.0.0.1:1", "database": "d"}']
)
def test_without_a_store_the_error_says_what_to_do(tmp_path, text):
    """No file, or one that cannot be used, is a sentence that names it."""
    if text is not None:
        (tmp_path / "stack.json").write_text(text)
    with pytest.raises(StoreAway, match=r"stack\.json"):
        find({"RUNTIDE_DIR": str(tmp_path)})


@pytest.mark.parametrize("url", ["localhost:8123", "tcp://u:hunter2@h:1/d", "http://", "http://u:hunter2@h:notaport/d"])
def test_a_wrong_url_is_refused_without_showing_its_password(url):
    """The message names the variable, not the value."""
    with pytest.raises(StoreAway, match="RUNTIDE_CLICKHOUSE_URL") as caught:
        find({"RUNTIDE_CLICKHOUSE_URL": url})
    assert "hunter2" not in str(caught.value)

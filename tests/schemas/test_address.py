"""Where the store is, and as whom to use it."""

import json

import pytest

from runtide_schemas import Address, AddressError, find_store, parse_address


def test_the_url_of_the_environment_wins(tmp_path):
    """The variable outranks the stack's file, and a password may have any character."""
    (tmp_path / "stack.json").write_text("{}")
    environ = {"RUNTIDE_DIR": str(tmp_path), "RUNTIDE_CLICKHOUSE_URL": "https://me:p%40ss%2F@db.example:9440/runs"}
    assert find_store("reader", environ) == Address("https", "db.example", 9440, "me", "p@ss/", "runs")


def test_the_stack_of_this_machine_is_found(tmp_path):
    """Beside a running stack nothing needs to be configured, and only who writes uses the password."""
    stack = {"store_url": "http://127.0.0.1:4242", "store_password": "secret", "database": "runtide"}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    environ = {"RUNTIDE_DIR": str(tmp_path)}
    assert find_store("reader", environ) == Address("http", "127.0.0.1", 4242, "reader", "", "runtide")
    assert find_store("default", environ) == Address("http", "127.0.0.1", 4242, "default", "secret", "runtide")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"store_url": 3}', '{"store_url": "127.0.0.1:1", "database": "d"}']
)
def test_without_a_store_the_error_says_what_to_do(tmp_path, text):
    """No file, or one that cannot be used, is a sentence that names it."""
    if text is not None:
        (tmp_path / "stack.json").write_text(text)
    with pytest.raises(AddressError, match=r"runtide up|stack\.json"):
        find_store("reader", {"RUNTIDE_DIR": str(tmp_path)})


@pytest.mark.parametrize("url", ["localhost:8123", "tcp://u:hunter2@h:1/d", "http://", "http://u:hunter2@h:notaport/d"])
def test_a_wrong_url_is_refused_without_showing_its_password(url):
    """The message names the variable, not the value."""
    with pytest.raises(AddressError, match="RUNTIDE_CLICKHOUSE_URL") as caught:
        find_store("reader", {"RUNTIDE_CLICKHOUSE_URL": url})
    assert "hunter2" not in str(caught.value)


def test_what_an_address_leaves_out_is_filled_in():
    """Port, user and database have ClickHouse's and runtide's usual values, and a number in brackets is a host."""
    assert parse_address("http://h") == Address("http", "h", 8123, "default", "", "runtide")
    assert parse_address("https://[::1]/d").url == "https://[::1]:8443"


def test_the_editor_has_an_address_of_its_own(tmp_path):
    """Beside a stack it is in the stack's file; beside a named store it must be named too, or there is none."""
    stack = {"store_url": "http://h:1", "store_password": "s", "editor_password": "e", "database": "d"}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    environ = {"RUNTIDE_DIR": str(tmp_path)}
    assert find_store("editor", environ) == Address("http", "h", 1, "editor", "e", "d")
    environ["RUNTIDE_CLICKHOUSE_URL"] = "http://reader@other:2/d"
    with pytest.raises(AddressError, match="read-only: set RUNTIDE_EDITOR_URL"):
        find_store("editor", environ)
    environ["RUNTIDE_EDITOR_URL"] = "http://pen:pw@other:2/d"
    assert find_store("editor", environ) == Address("http", "other", 2, "pen", "pw", "d")
    assert find_store("reader", environ).user == "reader"

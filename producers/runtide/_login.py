"""`login`: keeps the token of a stack on another machine."""

from __future__ import annotations

import os
import sys
from typing import Any

from runtide._link import ParcelError, TroubleError
from runtide._report import say
from runtide._tokens import find_stack, keep_token, parse_url
from runtide_schemas import home


def login(
    key: str | None = None,
    host: str | None = None,
    relogin: bool | None = None,
    verify: bool = False,
    **legacy: Any,
) -> bool:
    """Keep the token of a stack on another machine, which runs then go to. Asks only at a terminal.

    Args:
        key: The token; without one: RUNTIDE_TOKEN, what was kept before, or what is typed.
        host: Address of the stack, as http://host:port (default: RUNTIDE_URL, else the last one logged in to).
        relogin: Replace a token that is kept.
        verify: Ask the stack whether it takes the token; needs no network otherwise.
        legacy: Ignored; W&B scripts pass force, timeout, anonymous.

    Returns:
        Whether runs can go somewhere: also when nothing is configured, since then nobody asks for a token.

    Raises:
        SettingsError: The host is no address.
    """
    url, token = find_stack(url=parse_url(host, "host") if host else "")
    if not url or (not host and (home() / "stack.json").exists()):
        return True
    if relogin or not token:
        given = key or _ask(url)
        if not given:
            say(f"warning: there is no token for {url}: `runtide login {url}` at a terminal, or RUNTIDE_TOKEN")
            return False
        token = given.strip()
        if verify and not _is_taken(url, token):
            return False
        return _keep(url, token)
    return not verify or _is_taken(url, token)


def command(argv: list[str]) -> int:
    """Keep the token of a stack on another machine."""
    import argparse

    parser = argparse.ArgumentParser(prog="runtide login", description="Keep the token of a stack on another machine.")
    parser.add_argument("url", nargs="?", help="http://host:port (default: RUNTIDE_URL, else the last one)")
    args = parser.parse_args(argv)
    given = os.environ.get("RUNTIDE_TOKEN") or (None if sys.stdin.isatty() else sys.stdin.readline().strip())
    url = args.url or find_stack()[0]
    if not url:
        print("nothing to log in to: give the address of a stack, http://host:port", file=sys.stderr)
        return 1
    if not login(key=given, host=url, relogin=True, verify=True):
        return 1
    print(f"runs go to {find_stack()[0]}")
    return 0


def _ask(url: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        return ""
    import getpass

    return getpass.getpass(f"Token of {url} (the file ingest.token of its folder): ")


def _is_taken(url: str, token: str) -> bool:
    from runtide._http import HttpLink  # not every script that logs goes by HTTP

    link = HttpLink(url, token)
    try:
        link.verify()
    except (TroubleError, ParcelError) as error:
        say(f"warning: {error}")
        return False
    finally:
        link.close()
    return True


def _keep(url: str, token: str) -> bool:
    try:
        keep_token(home(), url, token)
    except OSError as error:
        say(f"warning: the token of {url} cannot be kept in {home()}: {error.strerror}; set RUNTIDE_TOKEN instead")
        return False
    return True

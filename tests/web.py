"""The HTTP client that tests share: each `httpx.get()` reads all authorities' certificates, 30 ms of a core."""

import httpx

# A connection of its own for each request: tests kill the servers behind it.
WEB = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


def answers(url: str) -> bool:
    """Whether a server is there and content."""
    try:
        return WEB.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False

"""A socket for a server; apart from the store, whose engine the others need not load."""

import socket

from runtide_stack.errors import StartError


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StartError: The port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not set TCP_NODELAY, and each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --port"
        ) from error
    return listener

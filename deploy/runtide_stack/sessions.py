"""HTTP sessions: one engine connection kept from request to request, for SET, USE and temporary tables."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from runtide_stack.engine import Engine
from runtide_stack.errors import refusal


@dataclass
class Session:
    """A connection that outlives its request, with the SET and USE statements it has run."""

    connection: Any
    history: list[bytes] = field(default_factory=list)
    busy: bool = False
    expiry: asyncio.TimerHandle | None = None


class Sessions:
    """The open sessions by id; lives on the event loop's thread, takes no locks and never waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: dict[str, Session] = {}

    def take(self, name: str, must_exist: bool) -> Session:
        """Borrow a session for one request, opening it if need be.

        Raises:
            EngineError: another request uses it, or it must exist and does not.
        """
        session = self._open.get(name)
        if session is None:
            if must_exist:
                raise refusal(
                    372, "SESSION_NOT_FOUND", f"Session {name} not found: it has expired, or was never opened"
                )
            session = self._open[name] = Session(self._engine.connect())
        if session.busy:
            raise refusal(373, "SESSION_IS_LOCKED", f"Session {name} is locked by a concurrent client")
        session.busy = True
        if session.expiry:
            session.expiry.cancel()
        return session

    def give_back(self, name: str, timeout: float) -> None:
        """Return a session; it is closed when nobody takes it for `timeout` seconds."""
        session = self._open[name]
        session.busy = False
        session.expiry = asyncio.get_running_loop().call_later(timeout, self._expire, name)

    def _expire(self, name: str) -> None:
        self._open.pop(name).connection.close()

    def close(self) -> None:
        """Close every session."""
        for session in self._open.values():
            if session.expiry:
                session.expiry.cancel()
            session.connection.close()
        self._open.clear()

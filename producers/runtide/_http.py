"""The link to a stack on another machine: its `/ingest` appends to a mirror of the writer's files."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a thread that resolves a name would import it, and a fork meanwhile hang
import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from runtide._link import Chunk, Parcel, ParcelError, TroubleError
from runtide._report import warn

_TIMEOUT = 10.0


class HttpLink:
    """Delivers the bytes of segments to a stack.

    Args:
        url: Its address, as http://host:port.
        token: What it knows us by; empty for none.
    """

    def __init__(self, url: str, token: str) -> None:
        self.name = f"the stack at {url}"
        self.identity: tuple[object, ...] = (url, token)
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self._described: set[int] = set()
        # Streams of which the stack lost what is no longer here: what follows leaves a gap.
        self._gaps: set[tuple[int, str]] = set()

    def deliver(self, parcel: Parcel, chunks: list[Chunk], stopped: Callable[[], bool]) -> bool:
        """See `Link.deliver`."""
        if parcel.writer not in self._described:
            self._demand("PUT", f"/ingest/{parcel.writer:016x}", parcel.description())
            self._described.add(parcel.writer)
        for chunk in chunks:
            if stopped():
                break
            self._post(parcel, chunk)
        return False

    def finish(self, parcel: Parcel) -> None:
        """See `Link.finish`."""
        self._demand("POST", f"/ingest/{parcel.writer:016x}/closed")
        self._described.discard(parcel.writer)

    def verify(self) -> None:
        """See whether the stack answers and takes the token.

        Raises:
            TroubleError: It does not.
        """
        self._demand("GET", "/ingest")

    def close(self) -> None:
        """See `Link.close`."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _post(self, parcel: Parcel, chunk: Chunk) -> None:
        begins, key = chunk.offset == chunk.base, (parcel.writer, chunk.stream)
        query = {"offset": chunk.offset} | ({"segment": 1} if begins else {})
        query |= {"gap": 1} if begins and key in self._gaps else {}
        path = f"/ingest/{parcel.writer:016x}/{chunk.stream}"
        status, answer = self._request("POST", f"{path}?{urlencode(query)}", chunk.data)
        if status == 200 and answer.get("next") == chunk.end:
            parcel.advance(chunk.stream, chunk.end)
            self._gaps.discard(key)
        elif status == 409:
            # The stack's machine lost what it had acknowledged.
            wanted = int(answer.get("next", 0))
            if (at := parcel.rewind(chunk.stream, wanted)) > wanted:
                self._gaps.add(key)
                text = f"{at - wanted} bytes of {parcel.run_id} ({chunk.stream}) that are no longer here are lost"
                warn(f"lost {key}", f"{self.name} has lost what it had taken: {text}; what follows is delivered")
        elif status in (400, 413):
            text = f"{self.name} does not take the stream {chunk.stream}: {answer.get('error')}"
            warn(f"refused {chunk.stream}", f"{text}; is it older than this SDK? Records wait in the outbox")
        else:
            raise self._trouble(status, answer)

    def _demand(self, method: str, path: str, body: bytes = b"") -> None:
        status, answer = self._request(method, path, body)
        if status != 200 or answer.get("runtide") != "ingest":
            raise self._trouble(status, answer)

    def _trouble(self, status: int, answer: dict[str, Any]) -> Exception:
        if status == 401:
            return TroubleError(f"{self.name} does not take our token: `runtide login` keeps another one")
        if status == 200:  # a proxy's page, or somebody else's server
            return TroubleError(f"{self.name} does not answer as a stack does: is that its address?")
        text = f"{self.name} answers {status}: {answer.get('error', 'it says no more')}"
        return ParcelError(text) if status in (500, 503) else TroubleError(text)

    def _request(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        kept = self._connection is not None
        try:
            return self._ask(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept and not isinstance(error, TimeoutError):  # the server ends idle connections
                return self._request(method, path, body)
            raise TroubleError(f"{self.name} cannot be reached: {error or type(error).__name__}") from error

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if not self._token.isascii() or not self._token.isprintable():
            # http.client would quote it in its complaint.
            raise TroubleError(f"the token for {self.name} has characters that no token has: `runtide login` asks anew")
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=_TIMEOUT)
        headers = {"Authorization": f"Bearer {self._token}"}
        self._connection.request(method, self._path + path, body, headers)
        response = self._connection.getresponse()
        text = response.read()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        return response.status, answer if isinstance(answer, dict) else {}

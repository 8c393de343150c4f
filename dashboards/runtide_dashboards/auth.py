"""Who may use the dashboard: one check in front of pages, websocket, files and data alike.

Without RUNTIDE_DASHBOARD_PASSWORD nobody is asked for anything, so only this machine's own names are served: any page
in a browser may else point a name of its own at this machine and read along (DNS rebinding). Other hosts are named in
STREAMLIT_SERVER_ALLOWED_HOSTS; with a password all are served.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

PASSWORD = "RUNTIDE_DASHBOARD_PASSWORD"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What supervisors ask, who have no password: says nothing but that the server runs.
HEALTH = "/_stcore/health"
_SAFE = ("GET", "HEAD", "OPTIONS")


def user_of(headers: Mapping[str, str]) -> str:
    """The user's name in HTTP Basic credentials, empty when there are none: `user_of(st.context.headers)`."""
    return _credentials(headers)[0]


def _credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, blob = (headers.get("authorization") or headers.get("Authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, given = base64.b64decode(blob.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, given


class Guard:
    """Lets through who knows the password, under a host's name that is served, from the dashboard's own pages.

    Any user name will do; it becomes `scope["state"]["user"]`.

    Args:
        app: What is guarded.
        password: The password, empty for none.
        base: The path below which the dashboard is served, as server.baseUrlPath says it.
    """

    def __init__(self, app: ASGIApp, password: str, base: str = "") -> None:
        self._app = app
        self._password = password.encode()
        self._health = f"/{base.strip('/')}{HEALTH}" if base.strip("/") else HEALTH

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope, Headers(scope=scope))
            if refusal is not None:
                await _refuse(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not is_host_allowed(headers.get("host")):
            return _sentence(
                403,
                f"This host name is not served: set {PASSWORD}, or name the host in STREAMLIT_SERVER_ALLOWED_HOSTS.",
            )
        if scope["type"] == "http" and scope["path"] == self._health and scope["method"] in _SAFE:
            return None
        user, given = _credentials(headers)
        if self._password and not hmac.compare_digest(given.encode(), self._password):
            response = _sentence(401, "A password is needed: any user name will do.")
            response.headers["WWW-Authenticate"] = 'Basic realm="runtide", charset="UTF-8"'
            return response
        if _foreign(scope, headers):
            return _sentence(403, "Only the dashboard's own pages may ask this.")
        scope.setdefault("state", {})["user"] = user
        return None


def _foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another origin asks for more than reading; Streamlit itself checks its websocket.

    A proxy that gives another name in Host is named in STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS, as for the websocket.
    """
    if scope["type"] != "http" or scope["method"] in _SAFE:
        return False
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return urlsplit(origin).netloc != headers.get("host") and origin not in config.get_option(
        "server.corsAllowedOrigins"
    )


def _sentence(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        message: dict[str, Any] = {"type": "websocket.close", "code": 1008}
        await send(message)
        return
    await response(scope, receive, send)

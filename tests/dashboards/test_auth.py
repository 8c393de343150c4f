"""The password and the host's name guard everything that the dashboard serves."""

import base64
import json
import os
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit import config

from runtide_dashboards.auth import Guard, user_of

# Every route of the real application, asked with every method it knows, in each of some ways; what answered is printed.
SCRIPT = """
import json, re, sys
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from runtide_dashboards.asgi import app

def ask(client, base, headers):
    found = {}
    for route in app._starlette_app.routes:
        path = re.sub(r"\\{[^}]*\\}", "x", route.path) or "/"
        if isinstance(route, WebSocketRoute):
            try:
                with client.websocket_connect(base.replace("http", "ws") + path, headers=headers):
                    found["WS " + path] = 101
            except WebSocketDisconnect:
                found["WS " + path] = 403
            continue
        for method in getattr(route, "methods", None) or ["GET"]:
            answer = client.request(method, base + path, headers=headers, follow_redirects=False)
            found[f"{method} {path}"] = answer.status_code
    found["GET /"] = client.get(base + "/", headers=headers).status_code
    found["GET /compare"] = client.get(base + "/compare", headers=headers).status_code
    return found

with TestClient(app, raise_server_exceptions=False) as client:
    print(json.dumps([ask(client, *way) for way in json.loads(sys.argv[1])]))
"""


# Some routes of Streamlit's refuse of themselves what is asked here.
OURS = {
    "GET /": 200,
    "GET /compare": 200,
    "GET /_stcore/health": 200,
    "WS /_stcore/stream": 101,
    "GET /api/export": 400,
    "POST /api/series": 400,
    "POST /api/hardware": 400,
    "GET /api/hardware/export": 400,
}


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


HERE = "http://localhost:8501"


def ask_all(password, *ways):
    """What each route of the dashboard answers to each way of asking, which is an address and headers."""
    environment = {**os.environ, "RUNTIDE_CLICKHOUSE_URL": "http://reader@127.0.0.1:9/x"}
    environment.pop("RUNTIDE_DASHBOARD_PASSWORD", None)
    environment |= {"RUNTIDE_DASHBOARD_PASSWORD": password} if password else {}
    command = [sys.executable, "-c", SCRIPT, json.dumps(ways)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_the_password_nothing_answers():
    """Neither pages, files, the websocket nor any route but the health check, whatever routes there are.

    With it all answer, whatever the user's and the host's names.
    """
    wrong = [{}, basic("me", "wrong"), basic("me", ""), {"Authorization": "Bearer geheim"}]
    right = ["http://dashboard.example.com", basic("me", "geheim é")]
    *answers, answered = ask_all("geheim é", *([HERE, headers] for headers in wrong), right)
    assert len(answers) == len(wrong)
    for found in answers:
        assert {"POST /api/series", "GET /api/export", "WS /_stcore/stream", "GET /", "GET /_stcore/health"} <= set(
            found
        )
        refused = {path: status for path, status in found.items() if "/_stcore/health" not in path or "script" in path}
        assert {status for route, status in refused.items() if not route.startswith("WS")} == {401}
        assert found["WS /_stcore/stream"] == 403
        assert found["GET /_stcore/health"] == 200
    assert {route: answered[route] for route in OURS} == OURS


def test_without_a_password_only_this_machine_is_served():
    """All answer under this machine's names; a name that somebody pointed at it is refused everywhere."""
    here, evil = ask_all("", [HERE, {}], ["http://evil.example", {}])
    assert {route: here[route] for route in OURS} == OURS
    assert set(evil.values()) == {403}


@pytest.fixture
def client():
    async def who(request):
        return PlainTextResponse(request.scope["state"]["user"])

    app = Starlette(routes=[Route("/who", who, methods=["GET", "POST"])])
    with TestClient(Guard(app, "pass:word"), base_url="http://here:8501") as client:
        yield client


def test_the_user_is_known(client):
    """The name before the first colon is who asks; the password may hold colons."""
    assert client.get("/who", headers=basic("åsa", "pass:word")).text == "åsa"
    assert user_of(basic("åsa", "anything")) == "åsa"
    assert [user_of(headers) for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Basic /w=="})] == [
        ""
    ] * 3


def test_a_browser_is_asked_for_the_password(client):
    """401 names the scheme; refusals are a sentence."""
    answer = client.get("/who")
    assert answer.headers["www-authenticate"] == 'Basic realm="runtide", charset="UTF-8"'
    assert answer.json() == {"error": "A password is needed: any user name will do."}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://here:8501"}, 200),
        ({"Origin": "http://here:8502"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_another_origin_may_not_post(client, headers, status):
    """A browser sends the password along for any page that asks: only our own may."""
    assert client.post("/who", headers=basic("me", "pass:word") | headers).status_code == status
    assert client.get("/who", headers=basic("me", "pass:word") | headers).status_code == 200


def test_a_proxy_that_renames_the_host_is_named(client):
    """What server.corsAllowedOrigins lists counts as our own."""
    origin = {"Origin": "https://dashboard.example.com"}
    before = config.get_option("server.corsAllowedOrigins")
    config.set_option("server.corsAllowedOrigins", [origin["Origin"]])
    try:
        assert client.post("/who", headers=basic("me", "pass:word") | origin).status_code == 200
    finally:
        config.set_option("server.corsAllowedOrigins", before)

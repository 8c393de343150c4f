"""What people change from the dashboard: who may, as whom, and that the runs then say so."""

import base64
import getpass
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from runtide_dashboards import edits
from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_dashboards.queries import edits as edit_queries
from runtide_dashboards.queries import runs as queries


@pytest.fixture
def signed_in(monkeypatch):
    """Signs in as whoever an Authorization header names."""

    def sign(header):
        monkeypatch.setattr(edits.st, "context", SimpleNamespace(headers={"Authorization": header} if header else {}))

    return sign


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 'n"a\\m🦀e\n<b>'),
        ("notes", "x" * 10_000),
        ("tags", ["a", "b, c", ""]),
        ("colour", "#12AB34"),
        ("archived", True),
        ("baseline", True),
    ],
)
def test_a_change_is_in_the_run_with_who_and_when(lab, project, signed_in, field, value):
    """The next look at the run shows it; the change itself is kept with its author."""
    signed_in(basic("ada:pass:word"))
    (run,) = queries.find_runs([lab.run(f"{project}/a", name="logged")])
    before = datetime.now(UTC)
    edits.save([run], field, value)
    (found,) = queries.find_runs([run.path])
    shown = getattr(found, field)
    assert (list(shown) if field == "tags" else shown) == value
    (row,) = edit_queries.list_edits(run.path)
    assert (row["who"], row["field"], json.loads(row["value"])) == ("ada", field, value)
    assert before <= row["time"] <= datetime.now(UTC) and found.edited == row["time"]
    edits.save([found], field, None)
    (found,) = queries.find_runs([run.path])
    assert getattr(found, field) == getattr(run, field)


def test_one_act_changes_many_runs_each_in_its_way(lab, project, signed_in):
    """A tag is added to what each run carries, under one id, and nobody else's run changes."""
    signed_in("")
    paths = [lab.run(f"{project}/{name}", tags=[name]) for name in "abc"]
    runs = queries.find_runs(paths)
    edits.save(runs[:2], "tags", lambda run: [*run.tags, "new"])
    assert [run.tags for run in queries.find_runs(paths)] == [("a", "new"), ("b", "new"), ("c",)]
    ids = lab.store.query(
        f"SELECT uniqExact(id) FROM run_edits WHERE startsWith(run_id, '{project}')", database=lab.database
    )
    assert ids.strip() == "1"
    edits.save([], "tags", ["never"])


def test_a_change_counts_although_another_clock_is_ahead(lab, project, signed_in, make_run):
    """It is later than the change that the person saw."""
    signed_in("")
    path = lab.run(f"{project}/a")
    ahead = datetime.now(UTC) + timedelta(hours=1)
    edits.save([make_run(path, edited=ahead)], "name", "from ahead")
    edits.save(queries.find_runs([path]), "name", "mine")
    assert queries.find_runs([path])[0].name == "mine"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (basic("ada:x"), "ada"),
        (basic("ä b:x").replace("Basic", "basic"), "ä b"),
        (basic(":x"), "user of the machine"),
        ("Basic %%%", "user of the machine"),
        ("Basic /w==", "user of the machine"),
        ("Bearer abc", "user of the machine"),
        ("", "user of the machine"),
    ],
)
def test_who_is_whoever_signed_in(monkeypatch, signed_in, header, name):
    """The name of HTTP Basic, else of the user that the dashboard runs as; a header that cannot be read is none."""
    monkeypatch.setattr(getpass, "getuser", lambda: "user of the machine")
    signed_in(header)
    assert edits.who() == name


def test_a_user_without_a_name_is_said_so(monkeypatch, signed_in):
    """In a container the user may have none."""

    def unknown():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    signed_in("")
    assert edits.who() == "unknown"


def test_without_an_editor_everything_is_read_only(lab, monkeypatch, signed_in, make_run):
    """Buttons have the reason, and who saves all the same is told it."""
    signed_in("")
    assert edits.refusal() == ""
    monkeypatch.delenv("RUNTIDE_EDITOR_URL")
    assert edits.refusal() == "read-only: set RUNTIDE_EDITOR_URL"
    with pytest.raises(QueryFailed, match="set RUNTIDE_EDITOR_URL"):
        edits.save([make_run("e/p/a")], "name", "x")


def test_a_user_who_may_not_edit_is_refused_in_words(lab, monkeypatch, signed_in, make_run):
    """The store's own sentence, without its address or password."""
    signed_in("")
    monkeypatch.setenv("RUNTIDE_EDITOR_URL", lab.url)
    with pytest.raises(QueryFailed) as caught:
        edits.save([make_run("e/p/a")], "name", "x")
    assert "http" not in str(caught.value) and str(caught.value)


class _Lossy(BaseHTTPRequestHandler):
    """Takes requests and hangs up on the first."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.path)
        if len(self.server.seen) == 1:
            self.connection.close()
            return
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_lost_answer_is_asked_for_again_under_the_same_token(monkeypatch, signed_in, make_run):
    """The second try names the same act, so that the store counts it once."""
    signed_in("")
    with HTTPServer(("127.0.0.1", 0), _Lossy) as server:
        server.seen = []
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(2)])
        thread.start()
        monkeypatch.setenv("RUNTIDE_EDITOR_URL", f"http://editor:p@127.0.0.1:{server.server_port}/d")
        edits.save([make_run("e/p/a")], "name", "x")
        thread.join()
    assert len(server.seen) == 2 and server.seen[0] == server.seen[1] and "token" in server.seen[0]


def test_a_store_that_is_away_is_said(monkeypatch, signed_in, make_run):
    """Nobody is left to believe that it was saved."""
    signed_in("")
    with HTTPServer(("127.0.0.1", 0), _Lossy) as server:
        port = server.server_port
    monkeypatch.setenv("RUNTIDE_EDITOR_URL", f"http://editor:p@127.0.0.1:{port}/d")
    with pytest.raises(StoreAway, match="does not answer"):
        edits.save([make_run("e/p/a")], "name", "x")

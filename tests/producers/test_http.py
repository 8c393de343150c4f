"""Runs that go to a real stack's /ingest: its spool becomes what the client's was."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide._cli import main
from runtide._errors import SettingsError
from runtide._settings import resolve
from runtide_schemas import STREAMS, Entry, decode, read_header, scan

DEADLINE = 60.0
Until = Callable[[Callable[[], object], str], None]


@pytest.fixture
def arrived(stack: Any, spooled: Any) -> Any:
    return type(spooled)(stack.folder)


def test_a_run_arrives_in_the_stacks_spool(stack: Any, arrived: Any, home: Path, monkeypatch: Any) -> None:
    """Byte by byte, in several segments, with the mark of the end; nothing stays on the client's disk."""
    monkeypatch.setenv("RUNTIDE_SEGMENT_BYTES", "3000")
    run = runtide.init(project="p")
    for number in range(3000):
        run.log({"a": float(number)})
        if number % 500 == 0:
            assert run.flush()
    run.finish()
    assert list((home / "outbox").iterdir()) == []
    assert arrived.points() == [("a", step, float(step)) for step in range(3000)]
    (writer,) = arrived.writers()
    assert (writer / "closed").exists()
    assert len(list(writer.glob("metrics-*.seg"))) > 2
    assert json.loads((writer / "writer.json").read_text())["run_id"] == run.path
    assert arrived.end()["sent"]["metrics"] == len(arrived.records("metrics"))


def test_a_stack_that_is_killed_and_comes_back_gets_everything_once(
    stack: Any, arrived: Any, home: Path, until: Until
) -> None:
    """kill -9 of the receiver in the midst of a run."""
    run = runtide.init(project="p")
    for number in range(2000):
        run.log({"a": float(number)})
        if number in (500, 1200):
            until(lambda: arrived.writers() and arrived.points(), "something arrived")
            stack.kill()
        if number in (900, 1700):
            stack.launch()
        if number % 100 == 0:
            assert run.flush()
    run.finish()
    assert list((home / "outbox").iterdir()) == []
    assert arrived.points() == [("a", step, float(step)) for step in range(2000)]


def test_bytes_that_the_stack_lost_are_sent_again(
    stack: Any, arrived: Any, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stack whose machine lost power has less than it had acknowledged."""
    run = runtide.init(project="p")
    run.log({"a": 0.0})
    until(lambda: arrived.writers() and arrived.points(), "it arrived")
    (path,) = arrived.writers()[0].glob("metrics-*.seg")
    os.truncate(path, 10)
    run.log({"a": 1.0})
    run.finish()
    assert arrived.points() == [("a", 0, 0.0), ("a", 1, 1.0)]


def test_bytes_that_nobody_has_any_more_are_told_and_do_not_hold_up_the_rest(
    stack: Any, arrived: Any, home: Path, monkeypatch: Any, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client has deleted what was acknowledged, the stack has lost it: what follows leaves a gap."""
    monkeypatch.setenv("RUNTIDE_SEGMENT_BYTES", "1000")
    run = runtide.init(project="p")
    for number in range(1000):
        run.log({"a": float(number)})
        if number % 100 == 0:
            assert run.flush()
    run.flush()
    backlog = run._sender._transport._backlog
    until(lambda: backlog.left() == 0, "everything arrived")
    first, *others = sorted(arrived.writers()[0].glob("metrics-*.seg"))
    for path in others:
        path.unlink()
    os.truncate(first, first.stat().st_size - 10)
    lost = first.stat().st_size
    for number in range(1000, 2000):
        run.log({"a": float(number)})
        if number % 100 == 0:
            assert run.flush()
    run.finish()
    assert list((home / "outbox").iterdir()) == []
    assert "is lost" in (said := capfd.readouterr().err) or "are lost" in said
    bases = sorted(int(path.stem[-20:]) for path in arrived.writers()[0].glob("metrics-*.seg"))
    assert bases[0] == 0 and bases[1] > lost
    values = {value for path in arrived.writers() for record in gapped(path) for value in record["values"]}
    assert values >= set(map(float, range(1000, 2000)))


def gapped(writer: Path) -> list[dict[str, Any]]:
    """The records of segments that need not follow one another."""
    found = []
    for path in sorted(writer.glob("metrics-*.seg")):
        data = path.read_bytes()
        header = read_header(data)
        assert header is not None
        items, _ = scan(data[header.size :], ended=True)
        found += [decode(STREAMS["metrics"], item.payload) for item in items if isinstance(item, Entry)]
    return found


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a server that answers 200 to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b"<html>Please sign in</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_page_of_somebody_else_is_no_acknowledgement(
    stranger: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A proxy that wants a login answers 200 too: nothing is deleted, and it is told."""
    monkeypatch.setenv("RUNTIDE_URL", stranger)
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "1")
    assert not runtide.login(key="k", host=stranger, relogin=True, verify=True)
    run = runtide.init(project="p")
    run.log({"a": 1.0})
    run.finish()
    assert len(list(home.glob("outbox/*/metrics-*.seg"))) == 1
    assert "does not answer as a stack does" in capfd.readouterr().err


@pytest.mark.parametrize("token", ["SECRET\u20ac", "SECRET\x07", "SECRET\r\nX: y"])
def test_a_token_that_is_none_is_not_told(
    ingest: Any, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], token: str
) -> None:
    """Whatever the HTTP library would say of it."""
    monkeypatch.setenv("RUNTIDE_URL", ingest.url)
    monkeypatch.setenv("RUNTIDE_TOKEN", token)
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "1")
    assert not runtide.login(host=ingest.url, verify=True)
    run = runtide.init(project="p")
    run.log({"a": 1.0})
    run.finish()
    said = capfd.readouterr().err
    assert "characters that no token has" in said and "SECRET" not in said


def test_a_token_with_a_newline_behind_it_is_taken(stack: Any, arrived: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As secrets that were made with echo have it."""
    monkeypatch.setenv("RUNTIDE_TOKEN", stack.token + "\n")
    run = runtide.init(project="p")
    run.log({"a": 1.0})
    run.finish()
    assert arrived.points() == [("a", 0, 1.0)]


def test_the_next_run_of_a_process_uses_the_token_that_there_is_by_then(
    stack: Any, arrived: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong one is mended in a notebook without starting it anew."""
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "0.5")
    monkeypatch.setenv("RUNTIDE_TOKEN", "wrong")
    first = runtide.init(project="p")
    first.log({"a": 1.0})
    first.finish()
    assert arrived.writers() == []
    monkeypatch.setenv("RUNTIDE_TOKEN", stack.token)
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "30")
    second = runtide.init(project="p")
    second.log({"b": 1.0})
    second.finish()
    assert arrived.points() == [("b", 0, 1.0)]


def test_a_wrong_token_is_told_and_nothing_is_lost(
    stack: Any, arrived: Any, home: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run ends in time; `runtide forward` delivers it with the right one."""
    monkeypatch.setenv("RUNTIDE_TOKEN", "wrong-secret")
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "0.5")
    run = runtide.init(project="p")
    run.log({"a": 1.0})
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 20
    said = capfd.readouterr().err
    assert "does not take our token" in said and "runtide login" in said and "wrong-secret" not in said
    assert "bytes of default/p" in said
    runtide._outbox.stop()
    assert arrived.writers() == []
    monkeypatch.setenv("RUNTIDE_TOKEN", stack.token)
    assert main(["forward"]) == 0
    assert arrived.points() == [("a", 0, 1.0)]
    assert list((home / "outbox").iterdir()) == []


def test_login_keeps_a_token_that_only_its_owner_can_read(
    ingest: Any, home: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """By address; the last one logged in to is where runs go; others' eyes make it useless."""
    assert runtide.login()
    assert runtide.login(key="of-somebody-else")
    assert not (home / "token.json").exists()
    assert not runtide.login(key="wrong", host=ingest.url, verify=True)
    assert not (home / "token.json").exists()
    assert runtide.login(key=ingest.token, host=ingest.url + "/", verify=True)
    assert runtide.login(key="a-key-in-an-old-script")
    assert runtide.login(anonymous="must", relogin=False, verify=True)
    assert stat.S_IMODE((home / "token.json").stat().st_mode) == 0o600
    settings = resolve({})
    assert (settings.mode, settings.url, settings.token) == ("http", ingest.url, ingest.token)
    assert ingest.token not in repr(settings)
    assert resolve({"mode": "offline"}).mode == "spool"
    monkeypatch.setenv("WANDB_API_KEY", "for-somebody-else")
    assert resolve({}).token == ingest.token
    (home / "token.json").chmod(0o644)
    assert resolve({}).mode == "spool"
    assert "others can read it" in capfd.readouterr().err


def test_login_never_asks_without_a_terminal(ingest: Any, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No key, no kept token: a warning, False, and no network."""
    assert not runtide.login(host="http://nowhere.invalid:1")
    assert "runtide login http://nowhere.invalid:1" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["somewhere", "ftp://a", "http://", "http://user:secret@host", "http://host:port"])
def test_an_address_that_is_none_is_a_settings_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Said when the run begins, without the secret that may be in it."""
    monkeypatch.setenv("RUNTIDE_URL", text)
    with pytest.raises(SettingsError, match="RUNTIDE_URL") as error:
        resolve({})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("mode", "names"), [("kafka", "RUNTIDE_KAFKA"), ("http", "RUNTIDE_URL")])
def test_a_mode_without_an_address_is_a_settings_error(mode: str, names: str) -> None:
    """The message names the setting."""
    with pytest.raises(SettingsError, match=names):
        resolve({"mode": mode})


def test_the_command_login_takes_the_token_from_a_pipe(ingest: Any, home: Path) -> None:
    """And says where runs go; a token that the stack does not take is not kept."""
    command = [sys.executable, "-m", "runtide", "login", ingest.url]
    wrong = subprocess.run(command, input="wrong\n", capture_output=True, text=True, timeout=DEADLINE)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "does not take our token" in wrong.stderr
    right = subprocess.run(command, input=ingest.token + "\n", capture_output=True, text=True, timeout=DEADLINE)
    assert (right.returncode, right.stdout) == (0, f"runs go to {ingest.url}\n"), right.stderr
    assert json.loads((home / "token.json").read_text()) == {ingest.url: ingest.token}

"""`runtide up`: the embedded stack in one folder, on one command."""

import argparse
import contextlib
import fcntl
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from runtide_schemas import home
from runtide_stack.errors import StartError
from runtide_stack.secret import kept_secret, write_private
from runtide_stack.supervisor import ChildSpec, Supervisor

_DASHBOARD_PORT, _STORE_PORT = 8585, 8586
_HOST, _DATABASE = "127.0.0.1", "runtide"


def up(argv: list[str]) -> int:
    """Start the store, the consumer and the dashboard, and keep them running until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="runtide up", description=up.__doc__)
    parser.add_argument("--dir", default=home(), help="folder of the spool and the store (RUNTIDE_DIR; %(default)s)")
    parser.add_argument("--port", type=_port_number, help=f"port of the dashboard ({_DASHBOARD_PORT}, or a free one)")
    parser.add_argument("--store-port", type=_port_number, help=f"port of the store ({_STORE_PORT}, or a free one)")
    parser.add_argument("--no-dashboard", action="store_true", help="run the store and the consumer alone")
    args = parser.parse_args(argv)
    try:
        with _owned(Path(args.dir).expanduser().absolute()) as folder:
            dashboard = None if args.no_dashboard else _port("--port", args.port, _DASHBOARD_PORT)
            store = _port("--store-port", args.store_port, _STORE_PORT)
            if store == dashboard:
                raise StartError(f"port {store} cannot serve both: give different ones with --port and --store-port")
            _run(folder, store, dashboard)
    except StartError as error:
        print(f"runtide up: {error}", file=sys.stderr)
        return 2
    return 0


def _run(folder: Path, store_port: int, dashboard_port: int | None) -> None:
    password = kept_secret(folder / "store.password")
    stack = {
        "pid": os.getpid(),
        "store_url": f"http://{_HOST}:{store_port}",
        "store_password": password,
        "dashboard_url": f"http://{_HOST}:{dashboard_port}" if dashboard_port else None,
        "database": _DATABASE,
    }
    supervisor = Supervisor(_specs(folder, store_port, dashboard_port, password), folder / "logs", _tell)

    def announce() -> None:
        write_private(folder / "stack.json", json.dumps(stack))
        _tell(f"ready: dashboard {stack['dashboard_url'] or 'off'}, store {stack['store_url']}, folder {folder}")

    try:
        supervisor.run(announce)
    finally:
        (folder / "stack.json").unlink(missing_ok=True)


def _specs(folder: Path, store_port: int, dashboard_port: int | None, password: str) -> list[ChildSpec]:
    direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), _HOST]))

    def address(user: str) -> dict[str, str]:
        url = f"http://{user}@{_HOST}:{store_port}/{_DATABASE}"
        return {"RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": url, "no_proxy": direct}

    specs = [
        ChildSpec(
            "store",
            ["runtide_stack.store", "--dir", str(folder / "store"), "--host", _HOST, "--port", str(store_port)],
            # With the password: on a port that was taken in the meantime somebody else's store would answer /ping.
            _answers(
                f"http://{_HOST}:{store_port}/?query=SELECT+1",
                {"X-ClickHouse-User": "default", "X-ClickHouse-Key": password},
            ),
            {"RUNTIDE_STORE_PASSWORD": password},
        ),
        ChildSpec(
            "consumer",
            ["runtide_consumers", "consume", "--spool", str(folder / "spool")],
            lambda written: "ready" in written.splitlines(),
            address(f"default:{password}"),
        ),
    ]
    if dashboard_port:
        specs.append(
            ChildSpec(
                "dashboard",
                ["runtide_dashboards", "--host", _HOST, "--port", str(dashboard_port)],
                _answers(f"http://{_HOST}:{dashboard_port}/_stcore/health"),
                address("reader"),
            )
        )
    return specs


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[Path]:
    """Hold the folder for as long as the stack runs on it."""
    try:
        for part in (folder, folder / "spool", folder / "logs"):
            part.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a+")
    except OSError as error:
        raise StartError(f"the folder {folder} cannot be used ({error.strerror}): choose another with --dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"runtide is already running on {folder} ({_who(folder)})") from error
        yield folder


def _who(folder: Path) -> str:
    try:
        stack = json.loads((folder / "stack.json").read_text())
    except (OSError, ValueError):
        return "it is starting or stopping"
    return f"pid {stack['pid']}, dashboard {stack['dashboard_url'] or 'off'}"


def _port_number(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port: give a number from 1 to 65535")
    return number


def _port(option: str, wanted: int | None, preferred: int) -> int:
    """A port to listen on: what the person wants, else the preferred one, else any."""
    if wanted is not None:
        if not _is_free(wanted):
            raise StartError(f"port {wanted} is in use: give another one with {option}, or none to have one chosen")
        return wanted
    if _is_free(preferred):
        return preferred
    with socket.create_server((_HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((_HOST, port)):
            return True
    except OSError:
        return False


def _answers(url: str, headers: Mapping[str, str] | None = None) -> Callable[[str], bool]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # http_proxy is not for our own loopback
    request = urllib.request.Request(url, headers=dict(headers or {}))

    def check(_: str) -> bool:
        try:
            with direct.open(request, timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return check


def _tell(line: str) -> None:
    print(f"runtide: {line}", flush=True)

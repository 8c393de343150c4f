"""`runtide up`: the embedded stack in one folder, on one command."""

import argparse
import contextlib
import errno
import fcntl
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtide_schemas import KafkaSettingsError, find_kafka, home
from runtide_stack.errors import StartError
from runtide_stack.plan import HOST, WAITING, Plan, is_ready
from runtide_stack.secret import kept_secret, write_private
from runtide_stack.supervisor import Supervisor

_DASHBOARD_PORT, _STORE_PORT, _INGEST_PORT = 8585, 8586, 8587


def up(argv: list[str]) -> int:
    """Start the store, the consumer, the dashboard and the ingest server, and keep them running until Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        kafka = find_kafka(servers=args.kafka)
        with _owned(Path(args.dir).expanduser().absolute()) as folder:
            dashboard = None if args.no_dashboard else _port("--port", args.port, _DASHBOARD_PORT)
            store = _port("--store-port", args.store_port, _STORE_PORT)
            ingest = _port("--ingest-port", args.ingest_port, _INGEST_PORT, args.ingest_host)
            _check_apart({"--port": dashboard, "--store-port": store, "--ingest-port": ingest})
            secrets = ("store.password", "editor.password", "ingest.token")
            password, editor, token = (kept_secret(folder / name) for name in secrets)
            servers = kafka.servers if kafka else ""
            _run(Plan(folder, password, editor, token, store, dashboard, ingest, args.ingest_host, servers))
    except (StartError, KafkaSettingsError) as error:
        print(f"runtide up: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runtide up", description=up.__doc__)
    parser.add_argument("--dir", default=home(), help="folder of the spool and the store (RUNTIDE_DIR; %(default)s)")
    parser.add_argument("--port", type=_port_number, help=f"port of the dashboard ({_DASHBOARD_PORT}, or a free one)")
    parser.add_argument("--store-port", type=_port_number, help=f"port of the store ({_STORE_PORT}, or a free one)")
    parser.add_argument(
        "--ingest-port", type=_port_number, help=f"port that takes runs over HTTP ({_INGEST_PORT}, or a free one)"
    )
    parser.add_argument(
        "--ingest-host",
        default=HOST,
        metavar="ADDRESS",
        help="address of that port; 0.0.0.0 opens it to other machines (%(default)s)",
    )
    parser.add_argument(
        "--kafka",
        default="",
        metavar="HOST:PORT,…",
        help="also bring in what is in this Kafka, and make the topics there (RUNTIDE_KAFKA; none)",
    )
    parser.add_argument("--no-dashboard", action="store_true", help="run everything but the dashboard")
    return parser


def _run(plan: Plan) -> None:
    folder, stack = plan.folder, plan.stack
    supervisor = Supervisor(plan.children, folder / "logs", _tell)

    def announce() -> None:
        write_private(folder / "stack.json", json.dumps(stack))
        _tell(f"ready: dashboard {stack['dashboard_url'] or 'off'}, store {stack['store_url']}, folder {folder}")
        if plan.ingest_host != HOST:
            name = socket.gethostname() if plan.ingest_host == "0.0.0.0" else plan.ingest_host
            _tell(f"other machines: runtide login http://{name}:{plan.ingest}, the token is in {folder}/ingest.token")
        for child in supervisor.children:
            if not is_ready(child.written()) and WAITING in child.written():
                _tell(f"the {child.spec.name} waits for Kafka at {plan.kafka} (its log: {child.log})")

    try:
        supervisor.run(announce)
    finally:
        (folder / "stack.json").unlink(missing_ok=True)


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


def _port(option: str, wanted: int | None, preferred: int, host: str = HOST) -> int:
    """A port to listen on: what the person wants, else the preferred one, else any."""
    if wanted is not None:
        if not _is_free(host, wanted):
            raise StartError(f"port {wanted} is in use: give another one with {option}, or none to have one chosen")
        return wanted
    if _is_free(host, preferred):
        return preferred
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port)):
            return True
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise StartError(f"cannot listen on {host} ({error}): give an address of this machine") from error


def _check_apart(ports: Mapping[str, int | None]) -> None:
    given = [port for port in ports.values() if port]
    if twice := {port for port in given if given.count(port) > 1}:
        raise StartError(f"port {twice.pop()} cannot serve two: give different ones with {', '.join(ports)}")


def _tell(line: str) -> None:
    print(f"runtide: {line}", flush=True)

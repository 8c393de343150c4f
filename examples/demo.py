"""Start the embedded stack, train with two learning rates and three seeds each, and stay up until Ctrl-C (`make demo`).

Three seeds are the least that lets the dashboard say whether one rate is better than the other.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import runtide

HOME = Path(os.environ.get("RUNTIDE_DIR", Path.home() / ".runtide"))
RATES, SEEDS, EPOCHS = ("0.001", "0.01"), ("0", "1", "2"), "30"


def dashboard() -> str | None:
    """Address of the running stack's dashboard."""
    try:
        return str(json.loads((HOME / "stack.json").read_text())["dashboard_url"])
    except FileNotFoundError:
        return None


def await_stack(stack: subprocess.Popen[bytes]) -> str:
    while (address := dashboard()) is None:
        if stack.poll() is not None:
            sys.exit(stack.returncode)
        time.sleep(0.1)
    return address


def await_points(trainings: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the first points can be read: the dashboard then has something to show."""
    query = "SELECT count() AS points FROM metrics WHERE time > now() - 60"
    while any(training.poll() is None for training in trainings):
        if runtide.sql(query)["points"][0].as_py():
            return
        time.sleep(0.2)


def main() -> int:
    # The stack and the trainings get sessions of their own: Ctrl-C reaches this process, which stops them in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if dashboard():
        print(f"A stack is running already: {dashboard()}. The demo logs to it.")
        stack = None
    else:
        stack = subprocess.Popen([sys.executable, "-m", "runtide", "up"], start_new_session=True)
    trainings: list[subprocess.Popen[bytes]] = []
    try:
        address = await_stack(stack) if stack else dashboard()
        script = Path(__file__).with_name("digits_mlp.py")
        for rate, seed in itertools.product(RATES, SEEDS):
            command = [sys.executable, str(script), "--lr", rate, "--seed", seed, "--epochs", EPOCHS]
            trainings.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True))
        await_points(trainings)
        print(f"\n  Six trainings are being logged: {address}\n  Ctrl-C stops everything.\n", flush=True)
        failed = sum(training.wait() != 0 for training in trainings)
        if failed:
            return 1
        print("  The trainings are done; the dashboard stays up until Ctrl-C.", flush=True)
        return stack.wait() if stack else 0
    except KeyboardInterrupt:
        return 0
    finally:
        for process in [*trainings, *([stack] if stack else [])]:
            if process.poll() is None:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())

"""The command `exec`: runs a script as it is, with runtide in the place of wandb."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runtide._report import say

# Holds a package `wandb` and the metadata of a distribution of that name.
_FOLDER = Path(__file__).parent / "_wandb"
_HELP = """usage: runtide exec COMMAND [argument ...]

Runs a command, such as `python train.py --lr 0.1`, with runtide wherever it or a process that it starts says
`import wandb`. Nothing in the script changes. The exit code is the command's."""


def command(argv: list[str]) -> int:
    """Run a command with runtide in the place of wandb; returns its exit code, where this process is still there."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    words = argv[1:] if argv[0] == "--" else argv
    before = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_FOLDER), before)))}
    sys.stdout.flush()
    try:
        if os.name == "posix":  # signals reach the command, and its exit code is ours, by its taking our place
            os.execvpe(words[0], words, environment)
        return subprocess.run(words, env=environment, check=False).returncode
    except FileNotFoundError:
        say(f"exec: there is no command {words[0]!r}; a script is run as `runtide exec python {words[0]}`")
        return 127
    except OSError as error:
        say(f"exec: {words[0]!r} cannot be run: {error.strerror}")
        return 126

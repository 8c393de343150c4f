"""`python -m runtide_consumers consume|sync ...`."""

import sys

from runtide_consumers.commands import consume, sync

if __name__ == "__main__":
    commands = {"consume": consume, "sync": sync}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit("usage: python -m runtide_consumers consume|sync [options]")
    sys.exit(commands[sys.argv[1]](sys.argv[2:]))

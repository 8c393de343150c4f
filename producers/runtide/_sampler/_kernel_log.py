"""XIDs from the kernel's log, where it may be read: NVML does not deliver the worst of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Source: NVIDIA's XID errors documentation: "NVRM: Xid (PCI:0000:3b:00): 79, pid=…".
_XID = re.compile(rb"NVRM: Xid \(PCI:([0-9A-Fa-f]+:[0-9A-Fa-f]+:[0-9A-Fa-f]+)\S*\): (\d+)")
_MOST_A_TIME = 1000


def place_on_bus(bus_id: str) -> tuple[int, ...]:
    """Domain, bus and device: NVML writes 00000000:3B:00.0 for what the kernel calls 0000:3b:00."""
    return tuple(int(part, 16) for part in bus_id.split(".")[0].split(":"))


class KernelLog:
    """What comes after it was opened; nothing where it may not be read."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError:
            return

    def xids(self) -> list[tuple[tuple[int, ...], int]]:
        """Place on the bus and number of each XID since the last time. Does not wait."""
        found: list[tuple[tuple[int, ...], int]] = []
        if self._file is None:
            return found
        for _ in range(_MOST_A_TIME):
            try:
                text = os.read(self._file, 8192)  # one entry at a time
            except BrokenPipeError:  # entries were overwritten before they were read
                continue
            except OSError:
                break
            if not text:
                break
            found += [(place_on_bus(bus.decode()), int(number)) for bus, number in _XID.findall(text)]
        return found

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

"""Ranks as processes: whether they live, and what they and all that they started use.

Source: man 5 proc (`/proc/<pid>/stat`, `/proc/<pid>/io`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from runtide._sampler._files import keyed, number, read

# Looks at all processes after which it is read again who started them: such a number may have been given anew.
_BELIEVED = 11


class _Stat(NamedTuple):
    """Of `/proc/<pid>/stat`, what is used here; times in ticks, memory in pages."""

    state: str
    ticks: int
    threads: int
    started: int
    pages: int


class Processes:
    """Processes of the node.

    Args:
        root: Stands for the file system's root.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = str(root / "proc")
        self._trees: dict[int, list[int]] = {}
        # By process, who started it, and how often that has been believed without being read again.
        self._parents: dict[int, int | None] = {}
        self._believed = 0
        self._tick_us, self._page = _units()

    def started(self, pid: int) -> int | None:
        """When a process began, in ticks since the machine did: with its pid it names one. None when it has ended."""
        stat = self._stat(pid)
        return None if stat is None or stat.state in "ZX" else stat.started

    def find_trees(self, roots: Iterable[int]) -> None:
        """See which processes each of these has started, and those in turn; this one is none of them."""
        children: dict[int, list[int]] = {}
        wanted = set(roots)
        try:
            pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()] if wanted else []
        except OSError:
            pids = []
        # A node has thousands of processes, and who started one changes only when that one has ended.
        known = self._parents if self._believed < _BELIEVED else {}
        self._believed = self._believed + 1 if known else 0
        self._parents = {pid: known.get(pid) or self._parent(pid) for pid in pids}
        mine = os.getpid()
        for pid, parent in self._parents.items():
            if pid != mine and parent is not None:
                children.setdefault(parent, []).append(pid)
        self._trees = {}
        for root in wanted:
            found, waiting = {root: None}, [root]  # a dict: a tree that bites its own tail ends too
            while waiting:
                for child in children.get(waiting.pop(), ()):
                    if child not in found and child not in wanted:  # another rank counts for itself
                        found[child] = None
                        waiting.append(child)
            self._trees[root] = list(found)

    def use(self, pid: int) -> dict[str, Any]:
        """What a process and all that it started use: fields of `RankProcesses`. Those that have ended are left out."""
        members = self._trees.get(pid, [pid])
        found = [(member, stat) for member in members if (stat := self._stat(member)) and stat.state not in "ZX"]
        row: dict[str, Any] = {"processes": len(found)}
        if not found:
            return row
        stats = [stat for _, stat in found]
        row["cpu_us"] = sum(stat.ticks for stat in stats) * self._tick_us
        row["rss_bytes"] = sum(stat.pages for stat in stats) * self._page
        row["threads"] = sum(stat.threads for stat in stats)
        traffic = [
            told
            for member, _ in found
            if "read_bytes" in (told := keyed(read(f"{self._proc}/{member}/io"), "read_bytes", "write_bytes"))
        ]
        if traffic:  # another user's cannot be read
            row["read_bytes"] = sum(told["read_bytes"] for told in traffic)
            row["write_bytes"] = sum(told.get("write_bytes", 0) for told in traffic)
        with suppress(OSError):
            row["fds"] = len(os.listdir(f"{self._proc}/{pid}/fd"))
        return row

    def _parent(self, pid: int) -> int | None:
        # The name of the program, in brackets, may hold anything.
        words = (read(f"{self._proc}/{pid}/stat") or "").rpartition(")")[2].split(None, 2)
        return number(words[1]) if len(words) == 3 else None

    def _stat(self, pid: int) -> _Stat | None:
        _, bracket, rest = (read(f"{self._proc}/{pid}/stat") or "").rpartition(")")
        words = rest.split()
        if not bracket or len(words) < 22:
            return None
        ticks, more, threads, started, pages = (number(words[place]) for place in (11, 12, 17, 19, 21))
        if ticks is None or more is None or threads is None or started is None or pages is None:
            return None
        return _Stat(words[0], ticks + more, threads, started, max(0, pages))


def _units() -> tuple[int, int]:
    """Microseconds of a tick, and bytes of a page."""
    if sys.platform == "win32":
        return 10_000, 4096
    return 1_000_000 // os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

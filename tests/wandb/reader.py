"""What wandb left in an offline run's `.wandb` file.

A header of 7 bytes, `:W&B` and a version, then LevelDB's log format: blocks of 32 KiB, in them chunks of a checksum,
a length and a kind (whole, first, middle, last), and in those a protobuf Record each.
"""

import json
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024
HEADER = 7
DEADLINE = 30.0
_CHUNK = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_OWN = ("_step", "_timestamp", "_runtime", "_wandb")


@dataclass
class OfflineRun:
    """Everything that was logged, without what wandb adds itself."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_records(data: bytes) -> Iterator[Record]:
    """Records until the end, or until the torn end of a file that is still written."""
    if data[:4] != b":W&B":
        raise ValueError(f"this is no .wandb file: it begins with {data[:HEADER]!r}")
    offset, parts = HEADER, b""
    while offset + _CHUNK.size <= len(data):
        left = BLOCK - offset % BLOCK
        if left < _CHUNK.size:  # too little for a chunk: zeros
            offset += left
            continue
        _, size, kind = _CHUNK.unpack_from(data, offset)
        offset += _CHUNK.size
        chunk = data[offset : offset + size]
        if not _WHOLE <= kind <= _LAST or len(chunk) < size:
            return
        offset += size
        parts = chunk if kind in (_WHOLE, _FIRST) else parts + chunk
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(parts)


def read_run(folder: Path) -> OfflineRun:
    """Read the one run under a folder, once its end is written: that is a moment after `finish` returned."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + DEADLINE
    while (run := _collected(path)).exit_code is None:
        assert time.monotonic() < deadline, f"{path} has no end"
        threading.Event().wait(0.01)
    return run


def _collected(path: Path) -> OfflineRun:
    run = OfflineRun()
    for record in read_records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            _put(run.rows.setdefault(record.history.step.num, {}), record.history.item)
        elif kind == "summary":
            _put(run.summary, record.summary.update)
            _remove(run.summary, record.summary.remove)
        elif kind in ("run", "config"):
            config = record.run.config if kind == "run" else record.config
            _put(run.config, config.update)
            _remove(run.config, config.remove)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    for tree in (run.summary, run.config, *run.rows.values()):
        for name in _OWN:
            tree.pop(name, None)
    return run


def _put(tree: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *parents, name = list(item.nested_key) or [item.key]
        _node(tree, parents)[name] = json.loads(item.value_json)


def _remove(tree: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *parents, name = list(item.nested_key) or [item.key]
        _node(tree, parents).pop(name, None)


def _node(tree: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for name in path:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    return tree

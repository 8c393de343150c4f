"""A stand-in for api/series: seeded curves in buckets, in the format that the panel grid reads."""

import json
import math
import struct
from functools import lru_cache

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

KINDS = {"x": "<f8", "mean": "<f4", "low": "<f4", "high": "<f4", "count": "<u4", "bad": "<u4"}
TYPES = {np.dtype("<f4"): "f4", np.dtype("<f8"): "f8", np.dtype("<u4"): "u4"}
# What tests switch: {"down": bool, "delay": seconds}; and what they count.
STATE = {"down": False, "grow": 1.0, "requests": []}


def curve(run: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a run's metric; empty for one that it never logged."""
    number = int(run.rsplit("-", 1)[-1])
    return _curve(number, key, STATE["grow"] if number == 0 else 0)


@lru_cache(maxsize=256)
def _curve(number: int, key: str, grown: float) -> tuple[np.ndarray, np.ndarray]:
    if key.endswith("/none") or (key == "val/acc" and number == 1):
        return np.empty(0), np.empty(0)
    rng = np.random.default_rng([number, *key.encode()])
    if key.endswith("/one"):
        return np.array([400.0]), np.array([rng.normal(1, 0.1)])
    n = 513 if key.endswith("/short") else 200_000
    if number == 0:
        n = int(n * (0.5 + min(0.5, grown / 1000)))
    steps = np.arange(n, dtype=float)
    base = 2.2 + 0.05 * number + 2 * np.exp(-steps / (n / 8)) + rng.normal(0, 0.05, n)
    if key.endswith("/lr"):
        base = 10.0 ** (-2 - 4 * steps / n) - 1e-5
    if "acc" in key:
        base = 1 - base / 5
    if key.endswith("/nan"):
        base[n // 3 : n // 3 + 3] = np.nan
        base[n // 2 : n // 2 + n // 20] = np.inf
    if key.endswith("/spike"):
        base[n // 2] = 1e6
    return steps, base


def bucketed(xs: np.ndarray, values: np.ndarray, wanted: int) -> tuple[float, dict[str, np.ndarray]]:
    """The width of buckets and their columns."""
    width = 1.0
    while len(xs) and (xs[-1] - xs[0] + 1) / width > wanted:
        width *= 2
    edges = np.floor(xs / width)
    starts = np.flatnonzero(np.r_[True, edges[1:] != edges[:-1]]) if len(xs) else np.empty(0, int)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite, starts, dtype="u4") if len(xs) else np.empty(0, "u4")
    total = np.diff(np.r_[starts, len(xs)])
    some = counts > 0
    if not len(xs):
        empty = np.empty(0, "<f8")
        return width, {name: empty.astype(kind) for name, kind in KINDS.items()}

    def reduce(ufunc: np.ufunc, fill: float) -> np.ndarray:
        return np.where(some, ufunc.reduceat(np.where(finite, values, fill), starts), np.nan)

    x = xs[starts].copy()
    x[-1] = xs[-1]
    columns = {
        "x": x, "mean": reduce(np.add, 0.0) / np.maximum(counts, 1), "low": reduce(np.minimum, np.inf),
        "high": reduce(np.maximum, -np.inf), "count": counts, "bad": total - counts,
    }  # fmt: skip
    return width, {name: columns[name].astype(kind) for name, kind in KINDS.items()}


def line(run: str, panel: dict, question: dict) -> tuple[dict, dict[str, np.ndarray]] | None:
    """One run's line with its columns."""
    xs, values = curve(run, panel["key"])
    if question["axis"] in ("relative", "wall"):
        xs = xs * 250.0 + (1_760_000_000_000 if question["axis"] == "wall" else 0)
    low, high = panel.get("from"), panel.get("to")
    inside = (xs >= (low if low is not None else -math.inf)) & (xs <= (high if high is not None else math.inf))
    xs, values = xs[inside], values[inside]
    hidden = 0
    if question["log_y"]:
        above = ~(values <= 0)
        hidden = int((~above).sum())
        xs, values = xs[above], values[above]
    if not len(xs):
        return None
    width, columns = bucketed(xs, values, question["buckets"])
    head = {
        "id": run, "run": run, "rank": 0, "ranks": 1, "attempt": 1, "old": False, "points": len(xs),
        "buckets": len(columns["x"]), "width": width, "first": xs[0], "last": xs[-1],
        "bad": int((~np.isfinite(values)).sum()), "hidden": hidden, "runs": 1, "tail": None, "unchanged": False,
    }  # fmt: skip
    held = panel.get("have", {}).get(run)
    if held and held[0] == width:
        if held[2] == len(xs):
            return head | {"unchanged": True}, {}
        keep = columns["x"] >= held[1]
        head["tail"], columns = held[1], {name: column[keep] for name, column in columns.items()}
    return head, columns


def group(one: dict, panel: dict, question: dict) -> tuple[dict, dict[str, np.ndarray]] | None:
    """A band over runs."""
    found = [made for run in one["runs"] if (made := line(run, panel | {"have": {}}, question))]
    if not found:
        return None
    n = min(len(columns["x"]) for _, columns in found)
    means = np.array([columns["mean"][:n] for _, columns in found])
    columns = {
        "x": found[0][1]["x"][:n], "mean": means.mean(0).astype("<f4"), "low": means.min(0).astype("<f4"),
        "high": means.max(0).astype("<f4"), "count": np.full(n, len(found), "<u4"), "bad": np.zeros(n, "<u4"),
    }  # fmt: skip
    return found[0][0] | {"id": one["id"], "run": None, "rank": None, "runs": len(found), "bad": 0}, columns


async def series(request: Request) -> Response:
    """POST api/series."""
    question = await request.json()
    STATE["requests"].append(question)
    if STATE["down"]:
        return JSONResponse({"error": "The store is away."}, 503)
    stored: dict[bytes, int] = {}
    columns: list[np.ndarray] = []

    def store(column: np.ndarray) -> int:
        data = column.dtype.str.encode() + column.tobytes()
        if data not in stored:
            stored[data] = len(columns)
            columns.append(column)
        return stored[data]

    panels = []
    for panel in question["panels"]:
        if panel["key"].endswith("/slow"):
            panels.append({"key": panel["key"], "error": "Took > 5 s. Narrow the range.", "lines": []})
            continue
        if question["groups"]:
            made = [group(one, panel, question) for one in question["groups"]]
        else:
            made = [line(run, panel, question) for run in question["runs"]]
        lines = [
            head | {"columns": {name: store(column) for name, column in found.items()}}
            for head, found in filter(None, made)
        ]
        axis, _, name = question["axis"].replace("auto", "step").partition(":")
        described = {"key": panel["key"], "error": None, "axis": axis, "x_name": name or axis}
        panels.append(described | {"lines": lines, "attempts": []})
    offsets, offset = [], 0
    for column in columns:
        offsets.append({"offset": offset, "length": len(column), "type": TYPES[column.dtype]})
        offset += -(-column.nbytes // 8) * 8
    header = json.dumps({"panels": panels, "columns": offsets}).encode()
    header += b" " * (-(4 + len(header)) % 8)
    body = b"".join(column.tobytes() + b"\0" * (-column.nbytes % 8) for column in columns)
    return Response(struct.pack("<I", len(header)) + header + body, media_type="application/octet-stream")


async def export(request: Request) -> Response:
    """GET api/export."""
    return PlainTextResponse(f"SELECT value FROM metrics WHERE key = '{request.query_params['key']}'")


async def switch(request: Request) -> Response:
    """Changes what the server does, and says what it was asked."""
    STATE.update(await request.json())
    asked, STATE["requests"] = STATE["requests"], []
    return JSONResponse(asked)

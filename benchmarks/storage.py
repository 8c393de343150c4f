"""Where each byte of a point goes: on the wire, and in which table and column of the store.

    python benchmarks/storage.py [--points N] [--workload NAME ...] [--codecs]

Noise and a real training go through the SDK, a broker on this machine (`make kafka`), the consumer and the store:

    noise-1000, noise-20   float32-born noise that never repeats, 1,000 or 20 keys a step: the worst that a network's
                           float32 metrics can be
    training-32, -64       a small network learns digits, several times with fixed seeds, and logs loss, accuracy,
                           learning rate and norms of its weights per batch; in float32, and in float64, whose lowest
                           bits are noise that no codec can shrink

All figures are bytes per point of the table `metrics`, that is per value that was logged. `inserted` is with merges
stopped: each insert its own part; `merged` is after OPTIMIZE FINAL. Tables are all that their parts have on disk,
indexes and marks too. Columns are the compressed data alone, after a last merge into a `Wide` part: of `Compact` ones,
as small tables have, the engine does not say it. `wire` is the size of a topic's log in the broker, without copies.

With --codecs, the points are then inserted once more into a table per codec of the column `value`: `cpu` is
core-seconds per million points for reading all columns from `metrics` and writing them, merges stopped; `read` is for
sum(value) afterwards. Clocks of processes tick in 10 ms: these two say something from a million points on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from throughput import Stack

NOISE = {"noise-1000": (1000, 400_000), "noise-20": (20, 200_000)}
TRAINING = {"training-32": "float32", "training-64": "float64"}
CODECS = ["ZSTD(1)", "ZSTD(3)", "LZ4", "Gorilla, ZSTD(1)", "FPC, ZSTD(1)"]
_RUNS = 6
_EPOCHS = 60
_ROUNDS = 3

_COLUMNS = """
SELECT column, sum(column_data_compressed_bytes) / sum(rows) FROM system.parts_columns
WHERE database = 'runtide' AND table = 'metrics' AND active GROUP BY column ORDER BY min(column_position) FORMAT TSV
"""
_TABLES = """
SELECT table, sum(bytes_on_disk) / (SELECT count() FROM metrics) FROM system.parts
WHERE database = 'runtide' AND active GROUP BY table HAVING sum(rows) > 0 ORDER BY table = 'metrics' DESC, 2 DESC FORMAT TSV
"""  # noqa: E501
_PARTS = "SELECT count() FROM system.parts WHERE database = 'runtide' AND table = 'metrics' AND active FORMAT TSV"
_CODECS = (
    "SELECT name, compression_codec FROM system.columns WHERE database = 'runtide' AND table = 'metrics' FORMAT TSV"
)


def train(dtype: str) -> None:
    """Learn digits a few times with fixed seeds; prints how many points were logged."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    import runtide

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(dtype)
    classes, logged = np.unique(labels), 0
    for seed in range(_RUNS):
        rate = 0.01 / (seed + 1)
        model = MLPClassifier((64,), learning_rate_init=rate, random_state=seed)
        shuffle = np.random.default_rng(seed)
        with runtide.init(project="storage", config={"lr": rate}) as run:
            for epoch in range(_EPOCHS):
                for batch in np.array_split(shuffle.permutation(len(images)), len(images) // 32):
                    model.partial_fit(images[batch], labels[batch], classes=classes)
                    metrics = {
                        "train/loss": model.loss_,
                        "train/accuracy": model.score(images[batch], labels[batch]),
                        "weights/hidden_norm": np.linalg.norm(model.coefs_[0]),
                        "weights/output_norm": np.linalg.norm(model.coefs_[1]),
                        "lr": rate * 0.97**epoch,
                        "epoch": epoch,
                    }
                    run.log(metrics)
                    logged += len(metrics)
        runtide.finish()
    print(json.dumps({"logged": logged}))


def produce(stack: Stack, workload: str, points: int) -> int:
    """Run the workload; returns how many points it logged."""
    if workload in NOISE:
        keys, rate = NOISE[workload]
        script, seconds = Path(__file__).with_name("throughput.py"), points / rate
        arguments = ["--produce", "--keys", str(keys), "--rate", str(rate), "--seconds", str(seconds)]
    else:
        script, arguments = Path(__file__), ["--train", TRAINING[workload]]
    environment = {**stack.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, stdout=subprocess.PIPE, check=True
    )
    return int(json.loads(done.stdout.splitlines()[-1])["logged"])


def sizes(stack: Stack, sql: str) -> dict[str, float]:
    return {name: float(size) for name, size in stack.rows(sql)}


def measure(workload: str, points: int, compare: bool) -> None:
    """One workload through the whole line, and its table."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), kafka=True, partitions=4)
        try:
            stack.start()
            stack.rows("SYSTEM STOP MERGES")
            logged = produce(stack, workload, points)
            rows = stack.wait(logged)
            parts, inserted = stack.ask(_PARTS)[0], sizes(stack, _TABLES)
            stack.rows("SYSTEM START MERGES")
            for table in inserted:
                stack.rows(f"OPTIMIZE TABLE {table} FINAL")
            merged = sizes(stack, _TABLES)
            stack.rows("ALTER TABLE metrics MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
            stack.rows("OPTIMIZE TABLE metrics FINAL")
            columns = sizes(stack, _COLUMNS)
            print(f"\n{workload}: {rows:,} of {logged:,} points are there, in {parts} parts as inserted")
            print(f"{'bytes a point':32}{'inserted':>10}{'merged':>10}")
            codecs = dict(stack.rows(_CODECS))
            for name, size in columns.items():
                _line(f"column {name}", None, size, codecs[name])
            _line("all columns of metrics", None, sum(columns.values()))
            for name, size in merged.items():
                _line(f"table {name}", inserted[name], size)
            _line("all tables", sum(inserted.values()), sum(merged.values()))
            for stream in ("metrics", "metrics_json", "runs", "schemas"):
                _line(f"wire, {stream}", None, stack.wire(stream) / rows)
            if compare:
                try_codecs(stack, rows)
        finally:
            stack.stop()


def _line(name: str, inserted: float | None, merged: float, note: str = "") -> None:
    print(f"{name:32}{'' if inserted is None else f'{inserted:.3f}':>10}{merged:10.3f}  {note}".rstrip(), flush=True)


def try_codecs(stack: Stack, points: int) -> None:
    """The same points once more with other codecs of their values; interleaved rounds, the median of each."""
    stack.rows("SYSTEM STOP MERGES")
    results: dict[str, list[tuple[float, float, float]]] = {codec: [] for codec in CODECS}
    for _ in range(_ROUNDS):
        for codec, rounds in results.items():
            stack.rows("DROP TABLE IF EXISTS scratch")
            stack.rows("CREATE TABLE scratch AS metrics")
            stack.rows(f"ALTER TABLE scratch MODIFY COLUMN value CODEC({codec})")
            start = stack.cpu()["store"]
            stack.rows("INSERT INTO scratch SELECT * FROM metrics")
            written = stack.cpu()["store"]
            stack.rows("SELECT sum(value) FROM scratch")
            read = stack.cpu()["store"]
            size = sizes(stack, _COLUMNS.replace("'metrics'", "'scratch'"))["value"]
            rounds.append((size, (written - start) / points * 1e6, (read - written) / points * 1e6))
    print(f"{'codec of value':32}{'bytes':>10}{'cpu':>10}{'read':>10}")
    for codec, rounds in results.items():
        print(f"{codec:32}" + "".join(f"{statistics.median(column):10.3f}" for column in zip(*rounds, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*NOISE, *TRAINING]
    parser.add_argument("--points", type=int, default=6_000_000, help="of each noise (default: %(default)s)")
    parser.add_argument("--workload", nargs="+", choices=every, default=every)
    parser.add_argument("--codecs", action="store_true", help="try other codecs of the column `value`")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train)
        return
    print(f"{os.cpu_count()} cores")
    for workload in options.workload:
        measure(workload, options.points, options.codecs)


if __name__ == "__main__":
    main()

"""What the Sweep page takes with many trials: its queries, its charts, and the page in a browser.

python benchmarks/sweep_page.py [--trials 10000] [--rounds 5]

The trials have twelve parameters, one of which only half of them have; they are put into the landing tables as a
consumer does it, but made by the store. `floor` is a page of one word; what the page takes beyond it is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

from dashboard import READY, VIEWPORT, dashboard, floor, load, measuring, row, visit
from playwright.sync_api import Browser
from query_api import running_store, tell

SWEEP, START = "bench/sweeps/large", 1_760_000_000
_NAMES = ("lr", "weight_decay", "dropout", "beta", "warmup", "layers", "width", "heads", "batch", "clip")
CONFIG = {
    "method": "random",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
        **{name: {"min": 0.0, "max": 1.0} for name in _NAMES[1:]},
        "optimizer": {"values": ["adamw", "sgd"]},
        "momentum": {"min": 0.8, "max": 0.99, "when": "optimizer == 'sgd'"},
    },
}
_CREATED = """
INSERT INTO landing_sweeps (_source, _partition, _offset, _appended, run_id, writer, seq, time, sweep, event, state,
    why, config, storage, number, try, parameters, objectives, agent)
VALUES ('s', 0, 0, now64(6), '{sweep}', 1, 0, fromUnixTimestamp({start}), 'large', 'created', 'running', '',
    '{config}', '', -1, 0, '', map(), 'node/1')
"""
_EVENTS = """
INSERT INTO landing_sweeps (_source, _partition, _offset, _appended, run_id, writer, seq, time, sweep, event, state,
    why, config, storage, number, try, parameters, objectives, agent)
SELECT 's', {told}, number, now64(6), concat('bench/sweeps/t', toString(number)), 2 + {told}, number,
    fromUnixTimestamp({start} + 10 * number + 300 * {told}), 'large', if({told}, 'told', 'asked'),
    multiIf(NOT {told}, 'running', number % 25 = 3, 'failed', 'finished'),
    if({told} AND number % 25 = 3, 'out of memory', ''), '', '', number, 0,
    concat('{{"lr": ', toString(lr), ', ', {others}, ', "optimizer": "', if(sgd, 'sgd"', 'adamw"'),
        if(sgd, concat(', "momentum": ', toString(0.8 + sipHash64(number, 99) % 1000 / 5300)), ''), '}}'),
    if({told} AND number % 25 != 3,
        map('val/loss', 2.2 + pow(log10(lr) + 3.5, 2) / 5 + sipHash64(number, 98) % 1000 / 5000), map()),
    'node/1'
FROM (SELECT number, pow(10, -5 + sipHash64(number, 1) % 100000 / 25000) AS lr, sipHash64(number, 97) % 2 = 1 AS sgd
    FROM numbers({trials}))
"""
_RUNS = """
INSERT INTO landing_runs (_source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank, child, time,
    event, name, config, definitions, environment, state)
SELECT 's', 0, number, now64(6), concat('bench/sweeps/t', toString(number)), 100 + number, {end}, created * 1000000, 0,
    false, fromUnixTimestamp64Micro((created + 290 * {end}) * 1000000, 'UTC'), if({end}, 'finish', 'start'),
    concat('trial-', toString(number)), concat('{{"lr": ', toString(number), '}}'), '{{}}', '{{"host": "node"}}',
    if({end}, if(number % 25 = 3, 'failed', 'finished'), '')
FROM (SELECT number, {start} + 10 * number AS created FROM numbers({trials}))
"""
# The charts draw on canvases; they say themselves when they are done.
_CHARTS = "[data-testid=stEChartsChart][aria-busy=false]"
INTERACTIVE = (
    f".st-key-sweep-progress {_CHARTS}",
    f".st-key-sweep-scatter {_CHARTS}",
    f".st-key-sweep-parallel {_CHARTS}",
    "[data-testid=stDataFrame] canvas",
)
IMPORTANCE = f".st-key-sweep-importance {_CHARTS}"


def seed(store: str, trials: int) -> None:
    """A sweep of so many trials, all of them over."""
    others = ", ', ', ".join(
        f"'\"{name}\": ', toString(sipHash64(number, {place}) % 1000 / 1000)"
        for place, name in enumerate(_NAMES)
        if place
    )
    common = {"sweep": SWEEP, "start": START, "trials": trials, "others": others}
    tell(store, _CREATED.format(config=json.dumps(CONFIG).replace("'", "\\'"), **common))
    for told in (0, 1):
        tell(store, _EVENTS.format(told=told, **common))
        tell(store, _RUNS.format(end=told, **common))


def parts(url: str, rounds: int) -> None:
    """What the page is made of, without a browser."""
    os.environ["RUNTIDE_CLICKHOUSE_URL"] = url
    from runtide_dashboards import importance, sweep_charts, sweep_data, sweep_frames, sweep_parallel, sweep_trials
    from runtide_dashboards.queries import sweeps
    from runtide_dashboards.sweep_views import SweepView

    sweep = sweeps.find_sweep(SWEEP)
    assert sweep is not None
    loaded = sweep_data.load(sweep)
    judged = sweep_data.judge(loaded, SweepView(SWEEP))
    trials, objective, scores, axes = judged.trials, judged.objective, judged.scores, loaded.axes
    columns = [loaded.columns[axis.name] for axis in axes]
    across = sweep_charts.Across(columns[0], axes[0])
    asked: dict[str, Callable[[], object]] = {
        "query: the sweep": lambda: sweeps.find_sweep(SWEEP),
        "query: whether anything was decided": lambda: sweeps.stamp(SWEEP),
        "query: all trials with their runs, as records": lambda: sweeps.trials(SWEEP),
        "query: energy": lambda: sweeps.energy(SWEEP),
        "query: the list of sweeps with the best": lambda: sweeps.find_best(sweeps.list_sweeps()),
        "axes": lambda: sweep_trials.axes(sweep.given, trials),
        "what is kept": lambda: sweep_data.load(sweep),
        "option: best so far": lambda: sweep_charts.best(trials, objective, scores),
        "option: scatter": lambda: sweep_charts.scatter(across, trials, objective, scores),
        "option: parallel coordinates": lambda: sweep_parallel.draw(axes, columns, trials, objective, scores),
        "frame of the table": lambda: sweep_frames.trials_frame(trials, loaded.more, ["val/loss"], axes, columns),
        "importance (in a thread of its own)": lambda: importance.study(trials, objective, axes),
    }
    for name, call in asked.items():
        took = []
        for _ in range(rounds):
            begin = time.perf_counter()
            call()
            took.append(time.perf_counter() - begin)
        row(name, took)


def work(browser: Browser, url: str, *ready: str) -> tuple[float, float]:
    """What a page costs, however busy the machine is: CPU seconds of its main thread, and megabytes over its socket."""
    context = browser.new_context(viewport=VIEWPORT)
    try:
        page = context.new_page()
        page.set_default_timeout(120_000)
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        received: list[int] = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
        page.goto(url, wait_until="commit")
        for selector in ready:
            page.wait_for_selector(selector, state="attached")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration"), sum(received) / 1e6
    finally:
        context.close()


def again(browser: Browser, url: str, rounds: int, *ready: str) -> list[float]:
    """Seconds of a page in new tabs of a browser that was there before, and has the scripts in its cache."""
    context = browser.new_context(viewport=VIEWPORT)
    taken = []
    try:
        for _ in range(rounds + 1):
            page, took = visit(context, url, *ready)
            taken.append(took)
            page.close()
    finally:
        context.close()
    return taken[1:]


def pages(browser: Browser, base: str, store: str, trials: int, rounds: int) -> None:
    """The page in fresh tabs: the first time, and when the sweep is known to the dashboard."""
    link = f"{base}/sweep?s={SWEEP}"
    title = f"Sweep, {trials:,} trials x 12 parameters"
    row(f"{title}, first visitor: charts and table", [load(browser, link, *INTERACTIVE)])
    row(f"{title}: charts and table", [load(browser, link, *INTERACTIVE) for _ in range(rounds)])
    row(f"{title}: a browser that was there before", again(browser, link, rounds, *INTERACTIVE))
    row(f"{title}: importance too", [load(browser, link, *INTERACTIVE, IMPORTANCE, READY) for _ in range(rounds)])
    row(f"{title}: CPU of its main thread", [work(browser, link, *INTERACTIVE)[0] for _ in range(rounds)])
    row(f"{title}: over the socket", [work(browser, link, *INTERACTIVE)[1]], "MB")
    row("List of sweeps", [load(browser, f"{base}/sweep", "[data-testid=stDataFrame] canvas") for _ in range(rounds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with measuring() as (browser, folder):
        with floor(folder) as address:
            row("floor, first visitor: a page of one word", [load(browser, address, READY)])
            row("floor: a page of one word", [load(browser, address, READY) for _ in range(args.rounds)])
            row("floor: a browser that was there before", again(browser, address, args.rounds, READY))
            row("floor: CPU of its main thread", [work(browser, address, READY)[0] for _ in range(args.rounds)])
        with running_store(folder) as store:
            seed(store, args.trials)
            url = f"http://reader@{store}/runtide"
            parts(url, args.rounds)
            with dashboard(url) as base:
                load(browser, base, READY)
                pages(browser, base, store, args.trials, args.rounds)


if __name__ == "__main__":
    main()

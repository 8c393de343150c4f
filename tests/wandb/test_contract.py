"""The model of the contract against wandb 0.31 itself, offline."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
import wandb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract import Call, Contract, differing, flat, same
from tests.contract_calls import ANY_STEP, CONFIGS, EXAMPLES, SETS, in_order, logs, play
from tests.wandb.reader import OfflineRun, read_run

Calls = list[Call]
QUIET = wandb.Settings(
    silent=True,
    console="off",
    disable_git=True,
    x_disable_stats=True,
    x_disable_meta=True,
    x_disable_machine_info=True,
    x_save_requirements=False,
)
FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_this_is_wandb() -> None:
    """The real package, and the version that the contract was read from."""
    assert version("wandb") == "0.31.0"


def held(calls: Calls) -> OfflineRun:
    """What wandb stores of the calls."""
    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(mode="offline", dir=folder, settings=QUIET)
        try:
            play(run, calls)
        finally:
            run.finish()
        return read_run(Path(folder))


def check(calls: Calls) -> None:
    contract = Contract(wandb=True).play(calls)
    found = held(calls)
    rows = {step: dict(flat(row)) for step, row in found.rows.items() if row}
    assert same(rows, contract.rows)
    assert same(found.config, contract.config)
    assert found.exit_code == 0
    assert not differing(dict(flat(found.summary)), contract)


@FEW
@given(calls=st.lists(st.one_of(*[logs(ANY_STEP)] * 3, SETS), max_size=40))
def test_rows_and_summary_whatever_the_steps(calls: Calls) -> None:
    """Late steps, repeated steps, open rows and values of every kind."""
    check(calls)


@FEW
@given(calls=st.lists(CONFIGS, max_size=12))
def test_a_config_changes_only_where_that_is_allowed(calls: Calls) -> None:
    """A refused update changes nothing; NaN is None, a tuple is a list."""
    check(calls)


@FEW
@given(calls=in_order())
def test_everything_at_once(calls: Calls) -> None:
    """Definitions, summary and config between the calls of log."""
    check(calls)


@pytest.mark.parametrize("what", EXAMPLES)
def test_examples(what: str) -> None:
    """Each clause of the contract by itself, in wandb."""
    check((EXAMPLES)[what])

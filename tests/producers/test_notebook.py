"""Cells of a notebook, in a real kernel."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the libraries say of themselves while they load
    import nbformat
    from nbclient import NotebookClient


@pytest.fixture
def notebook(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs cells one after the other; returns the text and HTML of each."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))

    def run(*cells: str, die: bool = False) -> list[dict[str, Any]]:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = NotebookClient(book, timeout=60, kernel_name="python3")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with client.setup_kernel():
                for number, cell in enumerate(book.cells):
                    client.execute_cell(cell, number)
                if die:
                    os.kill(client.km.provisioner.pid, signal.SIGKILL)
        return [
            output.get("data", {"text/plain": output.get("text", "")})
            for cell in book.cells
            for output in cell.outputs
            if output.output_type != "stream" or output.name == "stdout"
        ]

    return run


def test_a_cell_that_is_run_again_begins_a_new_run(notebook: Any, spooled: Any) -> None:
    """The second init finishes the first, values of the config may change, and the run shows itself as HTML."""
    outputs = notebook(
        "import runtide\nfirst = runtide.init(project='p', name='<b>one', config={'lr': 1})",
        "first.config.lr = 2\nruntide.log({'a': 1.0})",
        "second = runtide.init(project='p')\nruntide.log({'a': 2.0})\n(second.id != first.id, first._open)",
        "first",
    )
    assert outputs[0]["text/plain"] == "(True, False)"
    assert "&lt;b&gt;one" in outputs[1]["text/html"] and "default/p/" in outputs[1]["text/html"]
    events = spooled.records("runs")
    assert [event["state"] for event in events if event["event"] == "finish"] == ["finished", "finished"]
    assert any('"lr":2' in event["config"] for event in events)
    assert [value for _, _, value in sorted(spooled.points(), key=lambda point: point[2])] == [1.0, 2.0]


def test_a_kernel_that_is_killed_says_no_end(notebook: Any, spooled: Any) -> None:
    """Its points are there, and no end: five minutes later the run counts as crashed."""
    notebook(
        "import runtide\nrun = runtide.init(project='p')\nrun.log({'a': 1.0})\nassert run.flush()",
        die=True,
    )
    assert [value for *_, value in spooled.points(torn=True)] == [1.0]
    assert not [event for event in spooled.records("runs", torn=True) if event["event"] == "finish"]

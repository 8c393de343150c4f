"""`import wandb` that gives runtide, in processes of their own: it changes what modules there are."""

import importlib.metadata
from pathlib import Path
from typing import Any

import runtide
from runtide import _shim

STUB = Path(runtide.__file__).parent / "_wandb"
USE = """
import importlib.metadata, importlib.util
assert importlib.util.find_spec("wandb") is not None
assert importlib.util.find_spec("wandb.fastai") is None
assert importlib.metadata.version("wandb") >= "0.31"
assert importlib.metadata.metadata("wandb")["Name"] == "wandb"
assert "wandb" in importlib.metadata.packages_distributions()
import runtide, wandb
assert wandb.run is None and wandb.__version__ == importlib.metadata.version("wandb")
assert not hasattr(wandb, "nonsense") and not hasattr(wandb, "__nonsense__")
run = wandb.init(project="p", config={"lr": 0.5})
assert wandb.run is run is runtide.run and wandb.config.lr == 0.5
wandb.log({"a": 1.0})
assert wandb.summary["a"] == 1.0
assert wandb.sdk.lib.config_util.ConfigError is runtide.ConfigError
from wandb.sdk.lib import RunDisabled
from wandb.sdk.wandb_run import Run
from wandb.wandb_run import Run as Old
assert isinstance(run, Run) and Run is Old and not isinstance(run, RunDisabled)
import wandb.plot, wandb.util
from wandb import Image, Table, plot
from wandb.data_types import Image as Same
from wandb.errors import CommError, UsageError
from wandb.sdk.artifacts.artifact import Artifact
assert Image is Same and len(wandb.util.generate_id()) == 8
wandb.log({"c": wandb.plot.line(Table(), "x", "y"), "b": 2.0})
run._label(code="x")
wandb.finish()
assert wandb.run is None
"""


def test_the_package_that_exec_puts_first_is_the_same_release() -> None:
    """Frameworks ask for a version before they import the module, and after."""
    (found,) = importlib.metadata.distributions(path=[str(STUB)])
    assert (found.name, found.version) == ("wandb", _shim.VERSION)


def test_installed_it_is_the_module_with_its_submodules(script: Any, spooled: Any) -> None:
    """Spec, metadata, live names, submodules; also when it is installed twice."""
    script("import runtide\nruntide.install_as_wandb()\nruntide.install_as_wandb()\n" + USE)
    assert sorted(spooled.points()) == [("a", 0, 1.0), ("b", 1, 2.0)]


def test_on_the_path_it_is_the_same(script: Any, spooled: Any) -> None:
    """As `runtide exec` puts it there, before anything of runtide is imported."""
    script(USE, PYTHONPATH=str(STUB))
    assert sorted(spooled.points()) == [("a", 0, 1.0), ("b", 1, 2.0)]


def test_it_goes_before_the_real_one(script: Any, tmp_path: Path) -> None:
    """One that is installed and not imported yet is hidden; one that is imported is replaced, with a warning."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text("real = True")
    (tmp_path / "wandb" / "sdk.py").write_text("real = True")
    hidden = "import runtide; runtide.install_as_wandb()\nimport wandb\nassert wandb.init is runtide.init\n" + USE
    assert "the real wandb" not in script(hidden).stderr
    replaced = "import wandb.sdk, runtide\nassert wandb.real\nruntide.install_as_wandb()\n" + USE
    done = script(replaced)
    assert done.stderr.count("the real wandb was imported before runtide.install_as_wandb()") == 1


def test_a_folder_of_runs_beside_the_script_does_not_hide_it(script: Any, tmp_path: Path) -> None:
    """W&B leaves a folder `wandb` where scripts ran."""
    (tmp_path / "wandb").mkdir()
    script(USE, PYTHONPATH=str(STUB))


def test_a_run_is_attached_to_in_a_spawned_process(script: Any, spooled: Any) -> None:
    """By what stands for its id: the child logs into the same run, as its current one."""
    script("""
import multiprocessing, runtide
runtide.install_as_wandb()

def work(attach_id):
    import runtide
    runtide.install_as_wandb()
    import wandb
    run = wandb._attach(attach_id)
    assert wandb.run is run
    wandb.log({"child": 2.0})

if __name__ == "__main__":
    import wandb
    run = wandb.init(project="p")
    run.log({"parent": 1.0})
    child = multiprocessing.get_context("spawn").Process(target=work, args=(run._attach_id,))
    child.start()
    child.join()
    assert child.exitcode == 0
""")
    assert {key for key, *_ in spooled.points()} == {"parent", "child"}
    assert len({record["run_id"] for record in spooled.records("metrics")}) == 1
    assert len(spooled.writers()) == 2


def test_without_runtide_it_says_what_to_install(script: Any, tmp_path: Path) -> None:
    """The Python that `runtide exec` starts may be another one."""
    (tmp_path / "runtide.py").write_text("raise ModuleNotFoundError(\"No module named 'runtide'\", name='runtide')")
    done = script("import wandb", expect=1, PYTHONPATH=f"{STUB}:{tmp_path}")
    assert "pip install runtide" in done.stderr

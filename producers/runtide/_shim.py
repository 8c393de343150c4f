"""`import wandb` gives runtide: for frameworks that import it themselves.

A finder in front of all others makes the module `wandb`, those of its submodules that frameworks and scripts import,
and the metadata of a distribution of that name. Every name is looked up in runtide when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import module_from_spec
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from runtide import _api, _hooks
from runtide._config import Config
from runtide._report import warn
from runtide._run import Run
from runtide._summary import Summary

# The release of W&B's library whose names these are: frameworks ask for a minimum.
VERSION = "0.31.0"
# Modules, and the namespace of runtide that each one's names are in; the package itself where there is none.
_MODULES = {
    "wandb": "",
    "wandb.apis": "",
    "wandb.apis.public": "",
    "wandb.data_types": "",
    "wandb.errors": "errors",
    "wandb.integration": "",
    "wandb.integration.keras": "integrations.keras",
    "wandb.keras": "integrations.keras",
    "wandb.plot": "plot",
    "wandb.sdk": "",
    "wandb.sdk.artifacts": "",
    "wandb.sdk.artifacts.artifact": "",
    "wandb.sdk.data_types": "",
    "wandb.sdk.lib": "",
    "wandb.sdk.lib.config_util": "",
    "wandb.sdk.lib.disabled": "",
    "wandb.sdk.wandb_config": "",
    "wandb.sdk.wandb_run": "",
    "wandb.sdk.wandb_settings": "",
    "wandb.sdk.wandb_summary": "",
    "wandb.sklearn": "sklearn",
    "wandb.util": "util",
    "wandb.wandb_run": "",
}


def install() -> None:
    """As `runtide.install_as_wandb` says."""
    if isinstance(sys.modules.get("wandb"), _Module):
        return
    if "wandb" in sys.modules:
        warn(
            "shim",
            "the real wandb was imported before runtide.install_as_wandb(), and what imported it goes on using it: "
            "call install_as_wandb() first, or start the script by `runtide exec python …`",
        )
    take_place()


def take_place() -> None:
    """Put the module in the place of whatever is called wandb."""
    for name in [name for name in sys.modules if name == "wandb" or name.startswith("wandb.")]:
        del sys.modules[name]
    finder = next((known for known in sys.meta_path if isinstance(known, _Finder)), None) or _Finder()
    sys.meta_path[:] = [finder, *(other for other in sys.meta_path if other is not finder)]
    sys.modules["wandb"] = module_from_spec(finder.find_spec("wandb"))


_ANY = DistributionFinder.Context()


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        path = f"{self.__name__}.{name}"
        if path in _MODULES:
            return import_module(path)
        if name in _EXTRAS:
            return _EXTRAS[name]
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        package = import_module("runtide")
        source = _MODULES[self.__name__]
        if source.startswith("integrations."):  # needs its framework
            return getattr(import_module(f"runtide.{source}"), name)
        return getattr(getattr(package, source) if source else package, name)


class _Finder(DistributionFinder, Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:  # ModuleSpec for the names that there are, else None
        if name not in _MODULES:
            return None
        spec = ModuleSpec(name, self, origin=__file__, is_package=True)
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name, "runtide in the place of W&B's library.")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to do: every name is looked up when it is asked for."""

    def find_distributions(self, context: DistributionFinder.Context = _ANY) -> Iterable[Any]:
        return [_Distribution()] if context.name in (None, "wandb") else []


class _Distribution(Distribution):
    def read_text(self, filename: str) -> str | None:
        files = {"METADATA": f"Metadata-Version: 2.1\nName: wandb\nVersion: {VERSION}\n", "top_level.txt": "wandb\n"}
        return files.get(filename)

    def locate_file(self, path: str | PathLike[str]) -> Path:
        return Path(__file__).parent / path


class RunDisabled:
    """A class of W&B's that frameworks hold runs against; no run is one."""


def _attach(run: Run) -> Run:
    """Take over, as the current run of this process, a run that came from another one as its `_attach_id`."""
    _api.current.run = run
    _hooks.watch(run)
    return run


_EXTRAS: dict[str, Any] = {
    "Config": Config,
    "RunDisabled": RunDisabled,
    "Summary": Summary,
    "__version__": VERSION,
    "_attach": _attach,
}

"""Names of W&B features that are not there yet. When a feature arrives, its names leave the table.

What only records is taken, said once for each feature, and does nothing: training goes on, and log() stores the rest.
What has a result that somebody needs is an `Error`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runtide._errors import Error
from runtide._report import warn_once
from runtide._values import IMMUTABLE


@dataclass(frozen=True)
class _Feature:
    """Its names: classes of values, functions that record, functions with a result, namespaces of functions."""

    values: str = ""
    records: str = ""
    results: str = ""
    namespaces: str = ""


_FEATURES = {
    "media": _Feature(
        values="Audio BoundingBoxes2D Classes Html Image ImageMask Molecule Object3D Video", records="box3d"
    ),
    "histograms": _Feature(values="Histogram"),
    "tables": _Feature(values="EvalTable JoinedTable Table"),
    "charts": _Feature(values="Graph Plotly", records="plot_table", namespaces="plot sklearn"),
    "artifacts": _Feature(
        values="Artifact",
        records="finish_artifact link_artifact link_model log_artifact log_model upsert_artifact",
        results="use_artifact use_model",
    ),
    "files": _Feature(records="save", results="restore"),
    "gradients": _Feature(records="unwatch watch"),
    "source files": _Feature(records="log_code"),
}
# What scripts call on tables and artifacts to fill them.
_FILLING = frozenset((
    "add", "add_column", "add_computed_columns", "add_data", "add_dir", "add_file", "add_reference", "add_row", "cast",
    "delete", "link", "new_file", "remove", "save", "set_fk", "set_pk", "unlink", "wait", "write",
))  # fmt: skip


class NotYet:
    """A value of a feature that is not there yet: may be filled and logged, and is stored nowhere."""

    _feature = ""

    def __init__(self, *_: Any, **fields: Any) -> None:
        _say(self._feature, type(self).__name__)
        vars(self).update(fields)

    def __getattr__(self, name: str) -> Any:
        if name in _FILLING:
            return self._fill
        raise AttributeError(f"{type(self).__name__}.{name}: {self._feature} are not there yet")

    def _fill(self, *_: Any, **__: Any) -> NotYet:
        return self

    def __enter__(self) -> NotYet:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Namespace:
    """Functions that give a value each, such as `plot.line`."""

    def __init__(self, name: str, feature: str) -> None:
        self._name = name
        self._feature = feature

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _recorder(f"{self._name}.{name}", self._feature)


class LaterOnRun:
    """The methods of a run that are not there yet, and what frameworks made for W&B ask of one."""

    __slots__ = ()

    @property
    def _attach_id(self) -> LaterOnRun:
        """What another process attaches to this run by: the run, as it is pickled."""
        return self

    def _label(self, *_: Any, **__: Any) -> None:
        """Do nothing: W&B counts by it who uses which framework."""

    if not TYPE_CHECKING:  # checkers would accept any misspelt attribute

        def __getattr__(self, name: str) -> Any:
            for names in _FEATURES.values():
                if name in (*names.records.split(), *names.results.split()):
                    return find(name)
            raise AttributeError(f"a run has no attribute {name!r}")


@cache
def find(name: str) -> Any:
    """What stands for a name of a later feature; None for a name that W&B does not have either, or that is there."""
    for feature, names in _FEATURES.items():
        if name in names.values.split():
            return _kind(name, feature)
        if name in names.records.split():
            return _recorder(name, feature)
        if name in names.results.split():
            return _refuser(name, feature)
        if name in names.namespaces.split():
            return _Namespace(name, feature)
    return None


def waits(key: str, value: Any) -> bool:
    """Whether a value under this key of log() or of the summary has to be left out, which is said once."""
    if type(value) in IMMUTABLE or isinstance(value, str):
        return False
    items = value if isinstance(value, (list, tuple)) else (value,)
    feature = next((feature for feature in map(_feature, items) if feature), None)
    if feature:
        _say(feature, f"log() leaves {key!r} out")
    return feature is not None


def _feature(value: Any) -> str | None:
    """The later feature that a value needs. W&B makes charts and tables of what other libraries draw and tabulate."""
    if isinstance(value, NotYet):
        return value._feature
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if package in ("matplotlib", "plotly") or (isinstance(value, ModuleType) and value.__name__ == "matplotlib.pyplot"):
        return "charts"
    return "tables" if kind.__name__ == "DataFrame" and package in ("pandas", "polars") else None


def _say(feature: str, what: str) -> None:
    warn_once(f"later {feature}", f"{what}: {feature} are not recorded yet; everything else is, and training goes on")


def _kind(name: str, feature: str) -> type[NotYet]:
    return type(name, (NotYet,), {"_feature": feature, "__module__": "runtide", "__doc__": f"Takes {feature}."})


def _recorder(name: str, feature: str) -> Callable[..., NotYet]:
    def record(*arguments: Any, **_: Any) -> NotYet:
        _say(feature, f"{name}()")
        given = next((value for value in arguments if isinstance(value, NotYet)), None)
        return _kind(name, feature)() if given is None else given

    return record


def _refuser(name: str, feature: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise Error(f"runtide.{name}() cannot be used: {feature} are not there yet")

    return refuse

"""The configuration of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from typing import Any

from runtide._errors import ConfigError
from runtide._report import warn
from runtide._values import plain_value, utf8


class Config:
    """Values by name, also as attributes. A value that is there may change only with `allow_val_change=True`.

    Args:
        changed: Called after every change.
        free: Values may change without being asked, as in a notebook.
    """

    _values: dict[str, Any]
    _free: bool
    _locked: frozenset[str]
    _changed: Callable[[], None]

    def __init__(self, changed: Callable[[], None] = lambda: None, free: bool = False) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_free", free)
        object.__setattr__(self, "_locked", frozenset())
        object.__setattr__(self, "_changed", changed)

    def update(self, values: Any, allow_val_change: bool | None = None) -> None:
        """Set several values.

        Args:
            values: A mapping, a dataclass, flags of argparse or absl, an object with attributes, or a YAML file's path.
            allow_val_change: Allow other values than those that are there.

        Raises:
            ConfigError: A value would change; none is set then.
            TypeError: A value cannot be stored.
        """
        new = _plain(values)
        if self._locked and (kept := sorted(self._locked & set(new))):
            refused = [key for key in kept if new.pop(key) != self._values[key]]
            if refused:
                warn("locked", f"config.{', config.'.join(refused)}: the sweep has chosen the value, it stays")
        for key, value in new.items():
            if not (self._free or allow_val_change) and key in self._values and self._values[key] != value:
                raise ConfigError(
                    f"config.{key} would change from {self._values[key]!r} to {value!r}: "
                    "pass allow_val_change=True to config.update() if that is meant"
                )
        # Replaced and never changed in place: another thread may be writing it down.
        object.__setattr__(self, "_values", {**self._values, **new})
        self._changed()

    def lock(self, values: Mapping[str, Any]) -> None:
        """Set values that nobody can change any more: of a sweep, which has chosen them."""
        object.__setattr__(self, "_locked", frozenset())
        self.update(values, allow_val_change=True)
        object.__setattr__(self, "_locked", frozenset(map(_name, values)))

    def _begin(self, values: Mapping[str, Any], allow_val_change: bool) -> None:
        """Set what init() was given: of what is locked, these were the defaults."""
        free = {key: value for key, value in values.items() if key not in self._locked}
        self.update(free, allow_val_change=allow_val_change)

    def setdefaults(self, values: Any) -> None:
        """Set the values that are not there yet."""
        self.update({key: value for key, value in _plain(values).items() if key not in self._values})

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default when there is none."""
        return self._values.get(key, default)

    def keys(self) -> KeysView[str]:
        """Names, but for those that begin with an underscore."""
        return {key: value for key, value in self._values.items() if not key.startswith("_")}.keys()

    def items(self) -> ItemsView[str, Any]:
        """Names and values, but for names that begin with an underscore."""
        return {key: value for key, value in self._values.items() if not key.startswith("_")}.items()

    def as_dict(self) -> dict[str, Any]:
        """A copy as a dict."""
        return dict(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_values"][key]  # a copy has no values yet while it is made
        except KeyError:
            raise AttributeError(f"the config has no value {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


def _plain(values: Any) -> dict[str, Any]:
    if isinstance(values, str):
        values = _from_yaml(values)
    if isinstance(values, Config):
        return values.as_dict()
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    elif hasattr(values, "flag_values_dict"):  # absl
        values = values.flag_values_dict()
    elif not isinstance(values, Mapping) and hasattr(values, "__dict__"):
        values = vars(values)
    if not isinstance(values, Mapping):
        raise TypeError(f"config takes a dictionary, flags, a dataclass or a file, not {type(values).__name__}")
    return {_name(key): _value(_name(key), value) for key, value in values.items()}


def _from_yaml(path: str) -> Any:
    """What a YAML file says; W&B's own files say `{key: {value: ...}}`."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"config={path!r} is a YAML file, and PyYAML is missing: pip install pyyaml") from None
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"config={path!r} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config={path!r} holds no names and values")
    return {
        key: value["value"]
        if isinstance(value, dict) and "value" in value and value.keys() <= {"value", "desc"}
        else value
        for key, value in values.items()
        if key not in ("wandb_version", "_wandb")
    }


def _name(key: object) -> str:
    return utf8(key).strip("-")


def _value(key: str, value: Any) -> Any:
    try:
        return _without_nan(plain_value(value.as_dict() if isinstance(value, Config) else value, str))
    except RecursionError:
        raise TypeError(f"config.{key} cannot be stored: it is nested too deeply or contains itself") from None


def _without_nan(value: Any) -> Any:
    """None in the place of NaN, which equals not even itself and so could never be set twice."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

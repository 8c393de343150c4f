"""The configuration of a run."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from typing import Any

from runtide._errors import ConfigError
from runtide._values import plain_value, utf8


class Config:
    """Values by name, also as attributes. A value that is there may change only with `allow_val_change=True`.

    Args:
        changed: Called after every change.
    """

    _values: dict[str, Any]
    _changed: Callable[[], None]

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_changed", changed)

    def update(self, values: Any, allow_val_change: bool | None = None) -> None:
        """Set several values.

        Args:
            values: A mapping, an argparse.Namespace or a dataclass.
            allow_val_change: Allow other values than those that are there.

        Raises:
            ConfigError: A value would change; none is set then.
            TypeError: A value cannot be stored.
        """
        new = _plain(values)
        for key, value in new.items():
            if not allow_val_change and key in self._values and self._values[key] != value:
                raise ConfigError(
                    f"config.{key} would change from {self._values[key]!r} to {value!r}: "
                    "pass allow_val_change=True to config.update() if that is meant"
                )
        # Replaced and never changed in place: another thread may be writing it down.
        object.__setattr__(self, "_values", {**self._values, **new})
        self._changed()

    def setdefaults(self, values: Any) -> None:
        """Set the values that are not there yet."""
        self.update({key: value for key, value in _plain(values).items() if key not in self._values})

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default when there is none."""
        return self._values.get(key, default)

    def keys(self) -> KeysView[str]:
        """Names."""
        return self._values.keys()

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._values.items()

    def as_dict(self) -> dict[str, Any]:
        """A copy as a dict."""
        return dict(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
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
    if isinstance(values, Config):
        return values.as_dict()
    if isinstance(values, argparse.Namespace):
        values = vars(values)
    elif dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    if not isinstance(values, Mapping):
        raise TypeError(f"config takes a dictionary, an argparse.Namespace or a dataclass, not {type(values).__name__}")
    return {_name(key): _value(_name(key), value) for key, value in values.items()}


def _name(key: object) -> str:
    return utf8(key).strip("-")


def _value(key: str, value: Any) -> Any:
    try:
        return _without_nan(plain_value(value.as_dict() if isinstance(value, Config) else value))
    except (TypeError, RecursionError) as error:
        raise TypeError(f"config.{key} cannot be stored: {error}") from None


def _without_nan(value: Any) -> Any:
    """None in the place of NaN, which equals not even itself and so could never be set twice."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

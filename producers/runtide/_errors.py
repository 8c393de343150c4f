"""What runtide raises.

Error                    root of them all
├── UsageError           the API was called wrongly, such as log() after finish()
│   └── SettingsError    a setting has a value that cannot be used
├── ConfigError          a value of the config would change silently
├── UnavailableError     W&B has the name, and runtide does not have it yet
└── CommError            another process refused, or cannot be reached
    └── QueryError       ... the store, a query
        └── NotFoundError    there is no such run
"""

from __future__ import annotations


class Error(Exception):
    """Root of everything that runtide raises on its own account."""


class UsageError(Error):
    """The API was called in a way that cannot work."""


class SettingsError(UsageError):
    """A setting has a value that cannot be used."""


class ConfigError(Error):
    """A config value would change without `allow_val_change=True`."""


class CommError(Error):
    """Another process refused something, or cannot be reached."""


class QueryError(CommError):
    """The store refused a query, or cannot be reached."""


class NotFoundError(QueryError, ValueError):
    """There is no such run. A ValueError as well: scripts for W&B expect one."""


class UnavailableError(Error, AttributeError):
    """W&B has an attribute of this name, and runtide does not have it yet."""

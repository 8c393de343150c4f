"""What can go wrong here.

ConsumerError
├── SetupError      a person must change something: a setting, a folder; the message says what
│   └── SpoolBusy   another consumer works on the spool
├── MigrationError  the store's tables are not those that this version made
├── Stopped         somebody asked to stop while we waited
├── NotReplayed     a dead letter cannot be replayed; the message says why
├── Fenced          the batch may be another reader's by now: nothing was done, begin again from what is noted
└── Unavailable     the other side did not do what it was asked to; the same request may be sent again
    ├── SourceError Kafka did not
    └── StoreError  the store did not
        └── ParseError  the store says that the bytes are at fault
"""

from __future__ import annotations


class ConsumerError(Exception):
    """Root of the package's errors."""


class SetupError(ConsumerError):
    """A person must change something; the message says what."""


class SpoolBusy(SetupError):
    """Another consumer works on the spool."""


class MigrationError(ConsumerError):
    """The store's tables are not those that this version made."""


class Stopped(ConsumerError):
    """Somebody asked to stop while we waited."""


class Fenced(ConsumerError):
    """The batch may be another reader's by now: nothing was done, begin again from what is noted."""


class NotReplayed(ConsumerError):
    """A dead letter cannot be replayed, and nothing was changed; the message says why."""


class Unavailable(ConsumerError):
    """The other side did not do what it was asked to; the same request may be sent again."""


class SourceError(Unavailable):
    """Kafka did not do what it was asked to."""


class StoreError(Unavailable):
    """The store did not do what it was asked to."""


class ParseError(StoreError):
    """The store says that the bytes are at fault."""

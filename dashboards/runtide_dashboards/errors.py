"""What can go wrong between the dashboard and the store.

DashboardError
├── StoreAway     nobody answers: show it, keep trying
└── QueryFailed   the store answered and refused: only the panel that asked is affected
"""


class DashboardError(Exception):
    """Base of the errors that a page shows as one sentence."""


class StoreAway(DashboardError):
    """The store does not answer, or nobody said where it is."""


class QueryFailed(DashboardError):
    """The store refused or gave up one query."""

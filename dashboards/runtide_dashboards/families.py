"""Which runs are the same recipe: all that they were told is equal, but for the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from runtide_dashboards import configs
from runtide_dashboards.records import Run

# Names of a seed: seed, data_seed, torchSeed, random_state, rng, rng_key, seeds, seed_everything (of Lightning's
# command line). `num_seeds` is none. A path ends with its leaf's name, which is quoted if it has a dot itself.
SEED_NAME = r'(?:seed|random_?state|rng_?key|seed_everything|(?:^|[^a-z])rng|(?:^|[."])seeds)'
_SEED = re.compile(SEED_NAME + '"?$', re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Member:
    """A run as far as families go. `commit` is empty where none was recorded."""

    path: str
    config: str
    commit: str


def is_seed(path: str) -> bool:
    """Whether a config's leaf, by its dot path, is a seed."""
    return _SEED.search(path) is not None


@lru_cache(maxsize=4096)
def recipe(config: str, ignored: frozenset[str] = frozenset()) -> str | None:
    """What two configs have in common if and only if they differ in seeds alone; None for a run without a config.

    Without a config nobody knows what the run was: it is like no other.

    Args:
        config: JSON object.
        ignored: Dot paths of further leaves that change nothing of what is learnt.
    """
    flat = configs.flatten(configs.parse(config))
    if not flat:
        return None
    return json.dumps(sorted(item for item in flat.items() if item[0] not in ignored and not is_seed(item[0])))


class Families:
    """The families of the runs of some projects.

    Args:
        members: Runs, each once.
        ignored: As for `recipe`.
    """

    def __init__(self, members: Sequence[Member], ignored: Collection[str] = ()) -> None:
        self._ignored = frozenset(ignored)
        self._members: dict[tuple[str, str], list[Member]] = {}
        for member in members:
            kind = recipe(member.config, self._ignored)
            if kind is not None:
                self._members.setdefault((_project(member.path), kind), []).append(member)

    def pair(self, a: Run, b: Run) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """The paths of the others in the family of each of two runs, and whether both are of one.

        Where the configs say the same, the code may not: then the commit tells the families apart.
        """
        commit_a, commit_b = _commit(a), _commit(b)
        alike = a.project == b.project and self._kind(a) is not None and self._kind(a) == self._kind(b)
        by_commit = alike and bool(commit_a) and bool(commit_b) and commit_a != commit_b
        left_out = (a.path, b.path)
        both = [
            tuple(
                member.path
                for member in self._members.get((run.project, self._kind(run) or ""), ())
                if member.path not in left_out and (not by_commit or member.commit == commit)
            )
            for run, commit in ((a, commit_a), (b, commit_b))
        ]
        return both[0], both[1], alike and not by_commit

    def largest(self, a: Run, b: Run) -> list[tuple[str, ...]]:
        """Other families of the projects of two runs, the largest first."""
        own = {(run.project, self._kind(run)) for run in (a, b)}
        projects = {a.project, b.project}
        found = [
            tuple(member.path for member in members)
            for kind, members in self._members.items()
            if kind not in own and kind[0] in projects
        ]
        return sorted(found, key=lambda family: (-len(family), family))

    def _kind(self, run: Run) -> str | None:
        return recipe(run.config, self._ignored)


def _commit(run: Run) -> str:
    git = configs.parse(run.environment).get("git")
    return str(git.get("commit") or "") if isinstance(git, dict) else ""


def _project(path: str) -> str:
    return path.rpartition("/")[0]

"""What this node knows of earlier attempts of a run: a small file per run and rank."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attempt:
    """When an attempt began (microseconds since 1970 UTC), and the step that its next call would have had."""

    attempt: int
    step: int


def _file(home: Path, path: str, rank: int) -> Path:
    return home / "runs" / f"{hashlib.sha256(f'{path}:{rank}'.encode()).hexdigest()[:32]}.json"


def last_attempt(home: Path, path: str, rank: int) -> Attempt | None:
    """The latest attempt of a run by a rank that this node has seen; None when there is none, or it cannot be read."""
    try:
        fields = json.loads(_file(home, path, rank).read_text())
        return Attempt(int(fields["attempt"]), int(fields["step"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_attempt(home: Path, path: str, rank: int, attempt: Attempt) -> None:
    """Note an attempt.

    Raises:
        OSError: The file cannot be written.
    """
    file = _file(home, path, rank)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(json.dumps({"run_id": path, "rank": rank, **asdict(attempt)}))
    draft.replace(file)

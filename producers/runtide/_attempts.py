"""What this node knows of earlier attempts of a run: a small file per run and rank."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtide import _platform


@dataclass(frozen=True)
class Attempt:
    """How far an attempt came.

    Args:
        attempt: When it began, microseconds since 1970 UTC.
        step: Step that its next call would have had.
        told: Its description, as the `runs` record carries it.
        summary: Its summary as JSON texts; noted at its end.
    """

    attempt: int
    step: int
    told: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)


def _file(home: Path, kind: str, *parts: object) -> Path:
    return home / kind / f"{hashlib.sha256(':'.join(map(str, parts)).encode()).hexdigest()[:32]}.json"


def last_attempt(home: Path, path: str, rank: int) -> Attempt | None:
    """The latest attempt of a run by a rank that this node has seen; None when there is none, or it cannot be read."""
    try:
        fields = json.loads(_file(home, "runs", path, rank).read_text())
        told, summary = fields.get("told"), fields.get("summary")
        return Attempt(int(fields["attempt"]), int(fields["step"]), dict(told or {}), dict(summary or {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def note_attempt(home: Path, path: str, rank: int, attempt: Attempt) -> None:
    """Note an attempt.

    Raises:
        OSError: The file cannot be written.
    """
    _write(_file(home, "runs", path, rank), {"run_id": path, "rank": rank, **asdict(attempt)})


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(content))
    _platform.replace(draft, file)


class Unfinished:
    """Remembers the run of a folder and project until it has finished: what `resume="auto"` goes on with.

    Args:
        home: Folder of everything that runtide keeps on this machine.
        project: `entity/project`.
        folder: Where the training runs.
    """

    def __init__(self, home: Path, project: str, folder: str) -> None:
        self._file = _file(home, "unfinished", project, folder)

    def id(self) -> str:
        """Id of the run; empty when there is none."""
        try:
            return str(json.loads(self._file.read_text())["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, run_id: str) -> None:
        """Remember a run.

        Raises:
            OSError: The file cannot be written.
        """
        _write(self._file, {"id": run_id})

    def end(self) -> None:
        """Forget it.

        Raises:
            OSError: The file cannot be deleted.
        """
        self._file.unlink(missing_ok=True)

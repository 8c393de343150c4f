"""Where a run runs: host, command line, Python and its packages, Git state, and the job that it belongs to."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtide import _platform
from runtide._ci import find_job, without_credentials
from runtide._errors import UsageError
from runtide._report import say

_GIT_TIMEOUT = 5.0
_NAMED = 5
# Characters of the list of packages: it is stored with every change of the run's description.
_MAX_PACKAGES = 16_000
_PACKAGE = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")
# Of the environment no more than this, and what `_ci` names.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
_STRICT = "RUNTIDE_REQUIRE_CLEAN_GIT"
_told = False


def folder() -> str:
    """Where this process is; empty when somebody deleted the folder."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def capture(folder: str, tell: bool = False) -> dict[str, Any]:
    """Describe this process. Takes up to ten seconds where Git is slow, so it is no business of the training thread.

    Args:
        folder: Where the process was when the run began.
        tell: Warn, once in a process, when the code is not what the commit says.
    """
    described: dict[str, Any] = {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "command": _platform.command_line(sys.orig_argv),
        "program": sys.argv[0] if sys.argv else "",
        "folder": folder,
        "pid": os.getpid(),
        "cpus": os.cpu_count(),
        "packages": packages(sys.path),
    }
    described |= {name.lower(): os.environ[name] for name in _VARIABLES if name in os.environ}
    job = find_job(os.environ)
    if job:
        described["ci"] = job
    tree = _tree(folder) if folder else None
    if tree:
        described["git"] = _described(tree, job, _git(folder, "config", "--get", "remote.origin.url").strip())
        if tell:
            _tell(tree)
    elif "commit" in job:  # a checkout without its .git folder
        described["git"] = {"commit": job["commit"], "branch": job.get("branch", "")}
    return described


def require_clean(environ: Any = os.environ) -> None:
    """Where RUNTIDE_REQUIRE_CLEAN_GIT=1 asks for it, see that the code is what the commit says.

    Raises:
        UsageError: Tracked files are changed, or there is no repository to compare with.
    """
    if environ.get(_STRICT, "").lower() not in ("1", "true", "yes", "on"):
        return
    where = folder()
    tree = _tree(where) if where else None
    if tree is None:
        raise UsageError(f"{_STRICT} is set, but {where or 'the deleted working folder'} is in no Git repository")
    if tree.changed:
        raise UsageError(f"{_STRICT} is set, and {_changes(tree)}: commit them, or unset it")


@dataclass(frozen=True)
class _Tree:
    """A working tree: its commit, its branch, and the tracked files that are not as they are there."""

    commit: str
    branch: str
    changed: list[str]


def _tree(folder: str) -> _Tree | None:
    """None outside of a repository, and without Git."""
    # Untracked files do not count: most are what the runs themselves write.
    lines = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no").splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    if "branch.oid" not in heads:
        return None
    # Fields in front of the path, by the kind of the line: changed, renamed, unmerged.
    before = {"1": 8, "2": 9, "u": 10}
    changed = [line.split(" ", before[line[0]])[-1].split("\t")[0] for line in lines if line[:1] in before]
    return _Tree(heads["branch.oid"], heads.get("branch.head", ""), changed)


def _described(tree: _Tree, job: dict[str, str], remote: str) -> dict[str, Any]:
    # Jobs check out a commit and no branch.
    known = tree.branch != "(detached)" or job.get("commit") != tree.commit
    return {
        "commit": tree.commit,
        "branch": tree.branch if known else job.get("branch", tree.branch),
        "dirty": bool(tree.changed),
        "remote": without_credentials(remote),
    }


def _tell(tree: _Tree) -> None:
    global _told
    if tree.changed and not _told:
        _told = True
        say(f"warning: {_changes(tree)}: the commit alone does not give this run again")


def _changes(tree: _Tree) -> str:
    count = len(tree.changed)
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    verb = "differs" if count == 1 else "differ"
    return f"{', '.join(tree.changed[:_NAMED])}{more} {verb} from commit {tree.commit[:12]}"


def packages(path: Iterable[str]) -> list[str]:
    """Installed distributions as name==version, sorted, and how many are left out where the list would be too long.

    Args:
        path: Folders in which they may be, as sys.path. What comes first counts.
    """
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            # The metadata itself says the same, for a hundred times the time.
            if match := _PACKAGE.fullmatch(name):
                found.setdefault(re.sub("[-_.]+", "-", match[1]).lower(), match[2])
    kept, room = [], _MAX_PACKAGES
    for text in sorted(f"{name}=={version}" for name, version in found.items()):
        room -= len(text) + 3
        if room >= 0:
            kept.append(text)
    return kept if len(kept) == len(found) else [*kept, f"and {len(found) - len(kept)} more"]


def _git(folder: str, *arguments: str) -> str:
    # Optional locks: a status that refreshes the index would get into the way of the person's own git commands.
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", folder, "-c", "core.quotePath=false", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT,
            check=False,
            creationflags=_platform.NO_WINDOW,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

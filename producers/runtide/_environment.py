"""Where a run runs: host, command line, Python and Git state."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

_GIT_TIMEOUT = 5.0


def folder() -> str:
    """Where this process is; empty when somebody deleted the folder."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def capture(folder: str) -> dict[str, Any]:
    """Describe this process. Takes up to ten seconds where Git is slow, so it is no business of the training thread.

    Args:
        folder: Where the process was when the run began.
    """
    described: dict[str, Any] = {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "command": shlex.join(sys.orig_argv),
        "program": sys.argv[0] if sys.argv else "",
        "folder": folder,
        "pid": os.getpid(),
        "cpus": os.cpu_count(),
    }
    if folder and (git := _git(folder)):
        described["git"] = git
    return described


def _git(folder: str) -> dict[str, Any]:
    """Commit, branch, whether tracked files are changed, and remote; empty outside a repository or without Git."""
    lines = _run(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no").splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    if "branch.oid" not in heads:
        return {}
    return {
        "commit": heads["branch.oid"],
        "branch": heads.get("branch.head", ""),
        "dirty": any(not line.startswith("#") for line in lines),
        "remote": _without_credentials(_run(folder, "config", "--get", "remote.origin.url").strip()),
    }


def _run(folder: str, *arguments: str) -> str:
    # Optional locks: a status that refreshes the index would get into the way of the person's own git commands.
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _without_credentials(remote: str) -> str:
    parts = urlsplit(remote)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.scheme else remote

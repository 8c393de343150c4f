"""Secrets that a stack makes once and keeps in files of its folder."""

import os
import secrets
from pathlib import Path

from runtide_stack.errors import StartError


def kept_secret(path: Path) -> str:
    """The secret in a file; made when there is none.

    Raises:
        StartError: The file holds nothing: everybody could guess that.
    """
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    text = path.read_text().strip()
    if not text:
        raise StartError(f"{path} is empty: delete it, and a new secret is made")
    return text


def write_private(path: Path, text: str) -> None:
    """Write a file at once, readable for its owner only."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)

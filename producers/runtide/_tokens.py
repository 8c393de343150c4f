"""Where other stacks are, and the tokens that they know us by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from runtide import _platform
from runtide._errors import SettingsError
from runtide._report import warn
from runtide_schemas import home


def find_stack(environ: Mapping[str, str] = os.environ, url: str = "") -> tuple[str, str]:
    """Address and token of the stack on another machine that records go to; empty texts for none.

    Args:
        url: Its address, where that is known.
        environ: RUNTIDE_URL, else the last one logged in to; RUNTIDE_TOKEN or RUNTIDE_API_KEY, else the token kept for
            it, and WANDB_API_KEY last: it may be meant for somebody else.

    Raises:
        SettingsError: RUNTIDE_URL is no address.
    """
    kept = read_tokens(home(environ))
    if not url and (text := environ.get("RUNTIDE_URL")):
        url = parse_url(text, "RUNTIDE_URL")
    url = url or next(reversed(kept), "")
    given = environ.get("RUNTIDE_TOKEN") or environ.get("RUNTIDE_API_KEY")
    return url, (given or kept.get(url) or environ.get("WANDB_API_KEY") or "").strip()


def parse_url(text: str, name: str) -> str:
    """An address in the form in which tokens are kept.

    Args:
        text: http://host:port.
        name: Where it comes from, for the message.

    Raises:
        SettingsError: It is none.
    """
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        # Without the value: somebody may have put a token into it.
        raise SettingsError(f"{name} is not of the form http://host:port")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def read_tokens(folder: Path) -> dict[str, str]:
    """The kept tokens by address, the last one logged in to at the end."""
    path = folder / "token.json"
    try:
        if _platform.is_open_to_others(path):
            warn("tokens", f"{path} is not used: others can read it. Do `chmod 600 {path}`, or log in anew")
            return {}
        kept = json.loads(path.read_bytes())
        return {str(url): str(token) for url, token in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        warn("tokens", f"{path} cannot be read ({error}): delete it and log in anew")
        return {}


def keep_token(folder: Path, url: str, token: str) -> None:
    """Keep a token, as the last one logged in to.

    Raises:
        OSError: The file cannot be written.
    """
    kept = {other: value for other, value in read_tokens(folder).items() if other != url}
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".token-{os.getpid()}"
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump({**kept, url: token}, file)
    _platform.replace(draft, folder / "token.json")

"""Log lines: as text for a person, or as one JSON object each for a machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from datetime import UTC, datetime

_TEXT = "%(asctime)s %(levelname)s %(message)s"
# What every record has; whatever else is in one was given as `extra`.
_COMMON = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the extra fields, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        fields = {name: value for name, value in vars(record).items() if name not in _COMMON}
        fields |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--log-format` to a command."""
    parser.add_argument(
        "--log-format",
        type=_format,  # also asked about the variable's value, as choices= would not be
        default=os.environ.get("RUNTIDE_LOG_FORMAT") or "text",
        metavar="text|json",
        help="of the lines on standard error (RUNTIDE_LOG_FORMAT; %(default)s)",
    )


def _format(text: str) -> str:
    if text not in ("text", "json"):
        raise argparse.ArgumentTypeError(f"{text!r} (or RUNTIDE_LOG_FORMAT): give text or json")
    return text


def begin(log_format: str, level: int = logging.INFO, text: str = _TEXT) -> None:
    """Write log lines to standard error.

    Args:
        log_format: text or json.
        level: The lowest that is written.
        text: Format of a line of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(text))
    logging.basicConfig(handlers=[handler], level=level)

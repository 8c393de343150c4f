"""What can go wrong in the embedded stack.

StackError
├── StartError      the store or the stack cannot start; the message is one sentence for a person
├── IngestError     what a client sent over HTTP was not taken; carries the answer's status
└── EngineError     a statement failed; carries ClickHouse's code and name, answered over HTTP
"""

import re

_ENGINE_TEXT = re.compile(r"Code: (\d+)\. ")

# The statuses that ClickHouse's own HTTP handler gives; every other code is 500.
_STATUS = {
    400: {6, 26, 27, 38, 41, 43, 53, 62, 69, 72, 117, 130, 321},
    401: {194},
    403: {192, 193, 516},
    404: {46, 47, 50, 56, 60, 63, 73, 81, 115},
    408: {159},
    501: {48},
}


class StackError(Exception):
    """Root of everything that the embedded stack raises on purpose."""


class StartError(StackError):
    """The store or the stack cannot start: one sentence that says what to do."""


class IngestError(StackError):
    """Nothing was taken of what a client sent.

    Args:
        status: HTTP status of the answer.
        text: What is wrong and what to do.
        following: Offset that is wanted instead, in bytes.
    """

    def __init__(self, status: int, text: str, following: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.following = following


class EngineError(StackError):
    """A statement failed; `code` is ClickHouse's, read back out of the engine's own text."""

    def __init__(self, text: str) -> None:
        found = _ENGINE_TEXT.search(text)
        super().__init__(text[found.start() :].strip() if found else f"Code: 1001. DB::Exception: {text}")
        self.code = int(found[1]) if found else 1001

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server answers for this code."""
        return next((status for status, codes in _STATUS.items() if self.code in codes), 500)


def refusal(code: int, name: str, text: str) -> EngineError:
    """An error of the HTTP layer itself, in the words and with the code that a ClickHouse server would use."""
    return EngineError(f"Code: {code}. DB::Exception: {text} ({name})")

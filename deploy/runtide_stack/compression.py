"""Bodies of HTTP requests and responses in the four encodings that ClickHouse clients use."""

import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import zstandard

from runtide_stack.errors import refusal

_GZIP_WINDOW = 31  # zlib's way of saying: a gzip header, 32 kB window
_FAST_GZIP = 3


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4Compressor:
    """lz4's frame with the interface of the other three: its header comes with the first data."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._header = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        header, self._header = self._header, b""
        return bytes(header + self._frame.compress(data))

    def flush(self) -> bytes:
        return self.compress(b"") + bytes(self._frame.flush())


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "gzip": lambda: zlib.decompressobj(_GZIP_WINDOW),
    "deflate": zlib.decompressobj,
}
# In order of preference: what costs least CPU on the store's side comes first.
_COMPRESSORS: dict[str, Callable[[], _Compressor]] = {
    "lz4": _Lz4Compressor,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(_FAST_GZIP, zlib.DEFLATED, _GZIP_WINDOW),
    "deflate": lambda: zlib.compressobj(_FAST_GZIP),
}


class Decoder:
    """Decompresses a body piece by piece; several frames behind one another are one body."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("", "identity", *_DECOMPRESSORS):
            raise refusal(48, "NOT_IMPLEMENTED", f"Content-Encoding {encoding!r}: use lz4, zstd, gzip or deflate")
        self._new = _DECOMPRESSORS.get(encoding)
        self._frame: _Decompressor | None = None

    def decode(self, data: bytes) -> bytes:
        """Decompress the next piece."""
        if self._new is None:
            return data
        out = []
        while data:
            self._frame = self._frame or self._new()
            try:
                out.append(self._frame.decompress(data))
            except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                raise refusal(
                    354, "CANNOT_DECOMPRESS", f"The body is not what Content-Encoding says: {error}"
                ) from error
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(out)

    def close(self) -> None:
        """Raise if the body ended inside a frame: a part of it must never be inserted."""
        if self._frame is not None:
            raise refusal(354, "CANNOT_DECOMPRESS", "The compressed body ends inside a frame; nothing was inserted")


def choose_encoding(accepted: str) -> str | None:
    """Choose a response's encoding from an Accept-Encoding header, None for plain."""
    offered = (part.replace(" ", "").lower() for part in accepted.split(","))
    names = {part.split(";")[0] for part in offered if not part.endswith(";q=0")}
    return next((name for name in _COMPRESSORS if name in names), None)


class Encoder:
    """Compresses a response piece by piece; `None` passes it through."""

    def __init__(self, encoding: str | None) -> None:
        self._frame = _COMPRESSORS[encoding]() if encoding else None

    def encode(self, data: bytes) -> bytes:
        """Compress the next piece; may return nothing yet."""
        return self._frame.compress(data) if self._frame else data

    def close(self) -> bytes:
        """The end of the frame."""
        return self._frame.flush() if self._frame else b""

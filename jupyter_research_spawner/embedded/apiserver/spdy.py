"""Frames of SPDY/3.1, as far as `kubectl port-forward` uses them, over any transport of bytes.

Source: The Chromium Projects, SPDY Protocol - Draft 3.1, sections 2.2 (framing) and 2.6.10.1 (compression).  There is
no flow control: kubectl's library (moby/spdystream) has none either.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
_VERSION = 3
_HEADER = 8
_INTERNAL_ERROR = 6
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _text(text: str) -> bytes:
    return struct.pack(">I", len(text.encode())) + text.encode()


# Both sides must have the same 1423 bytes.
DICTIONARY = b"".join(
    [
        *map(_text, [*_WORDS.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie"]),
        *map(_text, ["keep-alive", "origin"]),
        _TAIL.encode(),
    ]
)


@dataclass(frozen=True)
class Frame:
    """A frame.  `kind` is 0 for data; `headers` only of SYN_STREAM and SYN_REPLY; `data` only of data and PING."""

    kind: int
    stream: int
    is_last: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""


class Session:
    """One end of a connection: it parses received bytes, and writes frames.  Headers are compressed as one stream."""

    def __init__(self) -> None:
        self._received = b""
        self._compressor = zlib.compressobj(zdict=DICTIONARY)
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes.  Raises ValueError for bytes that are not SPDY."""
        self._received += data
        while len(self._received) >= _HEADER:
            first, second = struct.unpack(">II", self._received[:_HEADER])
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self._received) < _HEADER + length:
                return
            body = self._received[_HEADER : _HEADER + length]
            self._received = self._received[_HEADER + length :]
            is_last = bool(flags & FIN)
            if not first >> 31:
                yield Frame(0, first, is_last, data=body)
                continue
            version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
            if version != _VERSION:
                raise ValueError(f"SPDY version {version} is not supported")
            yield self._control(kind, is_last, body)

    def _control(self, kind: int, is_last: bool, body: bytes) -> Frame:
        if kind == PING:
            return Frame(kind, 0, data=body)
        stream = struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF if len(body) >= 4 else 0
        if kind == SYN_STREAM:
            return Frame(kind, stream, is_last, self._headers(body[10:]))
        if kind == SYN_REPLY:
            return Frame(kind, stream, is_last, self._headers(body[4:]))
        return Frame(kind, stream, is_last)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._decompressor.decompress(block)
            (count,) = struct.unpack_from(">I", plain)
            position, words = 4, []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", plain, position)
                words.append(plain[position + 4 : position + 4 + length].decode())
                position += 4 + length
        except (zlib.error, struct.error) as error:
            raise ValueError(f"the headers are not valid: {error}") from None
        return dict(zip(words[::2], words[1::2], strict=True))

    def syn_stream(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """Return the frame that opens a stream."""
        return _frame(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self._block(headers))

    def syn_reply(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the frame that accepts a stream."""
        return _frame(SYN_REPLY, struct.pack(">I", stream) + self._block(headers or {}))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers)) + b"".join(
            _text(name) + _text(value) for name, value in headers.items()
        )
        return self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def data_frame(stream: int, data: bytes, *, is_last: bool = False) -> bytes:
    """Return a frame with data; the last one half-closes the stream."""
    return struct.pack(">II", stream, (FIN if is_last else 0) << 24 | len(data)) + data


def reset_frame(stream: int) -> bytes:
    """Return the frame that ends a stream with an error."""
    return _frame(RST_STREAM, struct.pack(">II", stream, _INTERNAL_ERROR))


def ping_frame(data: bytes) -> bytes:
    """Return the answer to a PING."""
    return _frame(PING, data)


def _frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", 1 << 31 | _VERSION << 16 | kind, len(body)) + body

"""A copy of sweep.json with a checksum: the one file without which nothing else of a sweep can be read."""

from __future__ import annotations

import struct
import zlib

from caviar.errors import FolderError

_TRAILER = struct.Struct("<8sI")
_MAGIC = b"CAVIAR\r\n"


def encode(declaration: bytes) -> bytes:
    """The copy: sweep.json, then a magic word and the CRC-32 of it."""
    return declaration + _TRAILER.pack(_MAGIC, zlib.crc32(declaration))


def decode(path: object, data: bytes) -> bytes:
    """The inverse of `encode`; what is not whole raises a `FolderError` that names ``path``."""
    length = len(data) - _TRAILER.size
    if length < 0 or _TRAILER.unpack_from(data, length) != (_MAGIC, zlib.crc32(data[:length])):
        raise FolderError(f"{path}: damaged: its checksum does not match its content")
    return data[:length]

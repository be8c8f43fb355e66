"""MATLAB files, looked at before a library reads them: how many parts they have, and how long those are.

A part says how long it is, and a packed one may unpack to a thousand times as much. What reads it makes
room for what it says.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import FileError
from ..inputs import InputFile, in_bytes, open_input

__all__ = ["checked_matlab"]

_HEADER, _TAG, _MATRIX, _COMPRESSED = 128, 8, 14, 15
_MOST_VARIABLES = 10_000
_PIECE = 1 << 16
_ALWAYS, _RATIO, _MOST_UNPACKED = 64 << 20, 50, 2 << 30
"""A file may unpack to 64 MiB, a larger one to 50 times itself; samples pack to a half or a quarter."""


@contextmanager
def checked_matlab(path: Path | str) -> Iterator[InputFile]:
    """A MATLAB file, open for reading, whose parts have been unpacked once to see how long they are.

    Version 5 to 7: a list of elements, each with its length, packed ones in zlib's format. Older ones are not
    packed. No single read of the file that is given may ask for more than the file has.

    Raises
    ------
    FileError
        If there are too many elements, or they unpack to too much.

    Source: MAT-File Format (MathWorks), chapter 1.
    """
    with open_input(path) as file:
        file.most_at_once = size = file.size
        most = min(max(_ALWAYS, _RATIO * size), _MOST_UNPACKED)
        head = file.read(min(_HEADER, size))
        if len(head) == _HEADER and 0 not in head[:4]:  # a 0 there is a file of version 4
            order: Any = "little" if head[126:128] == b"IM" else "big"
            at, unpacked, count = _HEADER, 0, 0
            while at + _TAG <= size:
                count += 1
                if count > _MOST_VARIABLES:
                    raise FileError(f"{path}: more than {_MOST_VARIABLES} variables")
                file.seek(at)
                kind, length = _tag(file.read(_TAG), order)
                at += _TAG + length
                if at > size:
                    raise FileError(
                        f"{path}: cut short: an element of {in_bytes(length)} in {in_bytes(size)}"
                    )
                source: InputFile | _Unpacked
                if kind == _COMPRESSED:
                    source = _Unpacked(file, length, most - unpacked)
                    kind, length = _tag(source.read(_TAG), order)
                else:
                    source = file
                if kind == _MATRIX:
                    _check_parts(path, source, length, order)
                if isinstance(source, _Unpacked):
                    unpacked += source.skip(None)
                    if unpacked > most:
                        raise FileError(
                            f"{path}: unpacks to more than {in_bytes(most)}, "
                            f"limit for a file of {in_bytes(size)}"
                        )
                    if _TAG + length > source.total:
                        raise FileError(
                            f"{path}: cut short: an element of {in_bytes(length)} in a packed one"
                        )
        file.seek(0)
        yield file


def _tag(tag: bytes, order: Any) -> tuple[int, int]:
    """Kind and length of an element; nothing of 0 bytes where there is no tag."""
    return int.from_bytes(tag[:4], order), int.from_bytes(tag[4:8], order)


def _check_parts(path: Path | str, source: InputFile | _Unpacked, length: int, order: Any) -> None:
    """FileError if a part of a matrix says that it is longer than the matrix: its reader would make room."""
    while length >= _TAG:
        kind, part = _tag(source.read(_TAG), order)
        length -= _TAG
        if kind >> 16:  # up to four bytes, in the tag itself
            continue
        if part > length:
            raise FileError(
                f"{path}: cut short: a part of {in_bytes(part)} in an element that has {in_bytes(length)}"
            )
        part += -part % 8
        length -= part
        if isinstance(source, _Unpacked):
            source.skip(part)
        else:
            source.seek(part, io.SEEK_CUR)


class _Unpacked:
    """The content of a packed element, of which nothing is kept.

    Attributes
    ----------
    total : int
        Bytes unpacked so far.
    """

    def __init__(self, file: InputFile, length: int, most: int) -> None:
        self._file, self._length, self._most = file, length, most
        self._unpack = zlib.decompressobj()
        self._ready = b""
        self.total = 0

    def read(self, size: int) -> bytes:
        """The next few bytes, fewer at the end or beyond the most."""
        while len(self._ready) < size and self._more():
            pass
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def skip(self, size: int | None) -> int:
        """Pass over so many bytes, or all; returns the bytes unpacked in all."""
        while size is None or size > len(self._ready):
            size = None if size is None else size - len(self._ready)
            self._ready = b""
            if not self._more():
                return self.total
        self._ready = self._ready[size:]
        return self.total

    def _more(self) -> bool:
        """Unpack a piece; False at the end, where the file is damaged, and beyond the most."""
        if self._unpack.eof or self.total > self._most:
            return False
        piece = self._unpack.unconsumed_tail
        if not piece:
            piece = self._file.read(min(_PIECE, self._length))
            self._length -= len(piece)
        try:
            made = self._unpack.decompress(piece, _PIECE)
        except zlib.error:
            return False  # its reader says so
        self._ready += made
        self.total += len(made)
        return bool(made or piece)

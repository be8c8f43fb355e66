"""The journal of a recording: a file that only grows, readable to its last whole entry whatever ends it.

    magic     8 bytes, MAGIC
    entry     length of its content [32], CRC-32 of kind and content [32], kind [8], content
    ...

All numbers low byte first. The first entry is the header. An entry is written by one call of the system: a
program that is killed leaves whole entries, a full disk a piece of one, which is cut off. Once a second the
system is asked to put them on the disk, for the machine that fails. docs/host.md says what entries hold.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ...golden_model.files import FileError

__all__ = [
    "JOURNAL",
    "LEARNT",
    "MAGIC",
    "ROW",
    "Entry",
    "Journal",
    "JournalError",
    "JournalFile",
    "how_to_recover",
    "is_written",
    "reserved",
]

JOURNAL = "recording.journal"
"""Name of the file, in the folder of a recording."""
MAGIC = b"MZJOURN\x01"
_HEAD = struct.Struct("<IIB")
_MOST = 1 << 24
"""Bytes of an entry's content; a longer one is damage."""
_SYNC_S = 1.0

ROW = np.dtype(
    [("tick", "<i8"), ("kind", "u1"), ("index", "u1"), ("flags", "u1"), ("sequence", "u1"), ("data", "<u4")]
)
"""A telemetry record; `tick` is its step in full, from the first one that is recorded."""
LEARNT = np.dtype(
    [
        ("circuit", "u1"),
        ("status", "u1"),
        ("step", "<i8"),
        ("rate", "<u4"),
        ("potentiation", "<u4"),
        ("depression", "<u4"),
    ]
)
"""A recalibration, with the words of δp and δd that the registers then had."""


class Entry(IntEnum):
    """Kinds of entries."""

    HEADER = 1
    """JSON: what the recording begins with."""
    RECORDS = 2
    """Any number of :data:`ROW`."""
    LEARNT = 3
    """One :data:`LEARNT`."""
    STATUS = 4
    """JSON: counts of the link, problems; the last one counts."""


class JournalError(Exception):
    """The journal takes no more; what was written before is whole.

    Attributes
    ----------
    path : Path
    reason : str
        What the system says.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror}")
        self.path, self.reason = path, str(error.strerror)


class Journal:
    """A new journal, open for writing; one process at a time has it.

    Parameters
    ----------
    path : Path
        Where there is no file.
    header : dict
        For JSON.

    Raises
    ------
    FileError
        If it cannot be made, or there is a file.
    JournalError
        From :meth:`add`, if the disk is full, or gone.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except OSError as error:
            raise FileError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size, self._sync_at = 0, 0.0
            self._write(MAGIC)
            self.add_json(Entry.HEADER, header)
        except JournalError as error:
            self.discard()
            raise FileError(f"{path}: cannot be written: {error.reason}") from None

    def add(self, kind: Entry, content: bytes) -> None:
        """Write an entry, whole or not at all."""
        head = _HEAD.pack(len(content), zlib.crc32(content, zlib.crc32(bytes([kind]))), kind)
        self._write(head + content)
        if time.monotonic() >= self._sync_at:
            self._sync()

    def add_json(self, kind: Entry, content: dict[str, Any]) -> None:
        """:meth:`add` of what JSON can say."""
        self.add(kind, json.dumps(content).encode())

    def close(self) -> None:
        """No more entries."""
        with suppress(OSError):  # what is written is written; the disk may be gone
            os.fsync(self._file)
        os.close(self._file)

    def discard(self) -> None:
        """Close and remove it."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise JournalError(self.path, error) from None
        self._size += written

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise JournalError(self.path, error) from None
        self._sync_at = time.monotonic() + _SYNC_S


class JournalFile:
    """A journal on the disk, to be read.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    header : dict
    unread : int
        Bytes from the first damage on; known once :meth:`entries` has come to its end.

    Raises
    ------
    FileError
        If it cannot be read, is no journal, or its header is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unread = 0
        kind, content = next(self.entries(), (None, b""))
        try:
            header = json.loads(content) if kind is Entry.HEADER else None
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            raise FileError(f"{path}: its beginning is damaged: no recording can be read from it")
        self.header: dict[str, Any] = header

    def entries(self) -> Iterator[tuple[Entry, bytes]]:
        """Kind and content of each entry, up to the first damage; one at a time is in memory."""
        try:
            with self.path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise FileError(f"{self.path}: not a journal of `microzone host record`")
                size, good = os.fstat(file.fileno()).st_size, file.tell()
                while (entry := _entry(file.read(_HEAD.size), file)) is not None:
                    good = file.tell()
                    yield entry
                self.unread = max(size - good, 0)
        except OSError as error:
            raise FileError(f"{self.path}: {error.strerror}") from None


def _entry(head: bytes, file: Any) -> tuple[Entry, bytes] | None:
    """The entry that begins with `head`; None if it is not whole, or at the end of the file."""
    if len(head) < _HEAD.size:
        return None
    length, check, number = _HEAD.unpack(head)
    if length > _MOST or number not in set(Entry):
        return None
    kind, content = Entry(number), file.read(length)
    if len(content) < length or zlib.crc32(content, zlib.crc32(head[-1:])) != check:
        return None
    fits = {Entry.RECORDS: length % ROW.itemsize == 0, Entry.LEARNT: length == LEARNT.itemsize}
    return (kind, content) if fits.get(kind, True) else None


def how_to_recover(path: Path) -> str:
    """What to do with a journal that is left, for a message."""
    return f"`microzone host recover {shlex.quote(str(path))}` makes files of it"


@contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Keep a journal from all others for some time; FileError if one of them has it."""
    if not path.is_file():
        raise FileError(f"{path}: {'not a file' if path.exists() else 'No such file'}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(f"{path}: is being written: the recording goes on") from None
        except OSError:  # a file system without locks
            pass
        yield


def is_written(path: Path) -> bool:
    """Whether a process is writing this journal."""
    try:
        with reserved(path):
            return False
    except FileError:
        return path.is_file()

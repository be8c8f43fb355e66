"""Files of one's own: where they are kept, writing whole or not at all. Those of users: ``inputs``."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import platformdirs

__all__ = [
    "FileError",
    "atomic_write",
    "cache_path",
    "check_target",
    "make_cache",
    "written_whole",
]


class FileError(ValueError):
    """A file that cannot be used; the message names the file and the entry."""


def cache_path() -> Path:
    """Where what was made once is kept: ``$MICROZONE_CACHE``, or the user's cache folder; not made here."""
    chosen = os.environ.get("MICROZONE_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("microzone"))


def make_cache() -> Path:
    """The folder of :func:`cache_path`, made for this user alone where it is not there.

    Raises
    ------
    FileError
        If others may write to it, root aside: what lies in it is run.
    OSError
        If it cannot be made.
    """
    folder = cache_path()
    if not folder.is_absolute():
        raise FileError("no home folder, and so no cache: choose a folder with MICROZONE_CACHE")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    others = status.st_uid not in (os.geteuid(), 0)
    if others or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FileError(
            f"cache folder {folder}: others may write to it, and what it holds is run; "
            "choose one of your own with MICROZONE_CACHE, which only you may write to (chmod go-w)"
        )
    return folder


def check_target(path: Path | str) -> None:
    """FileError if a file cannot be written at `path`; better known before long work than after."""
    try:
        target = Path(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a ring of links
        raise FileError(f"{path}: is not the name of a file ({error})") from None
    if not target.parent.is_dir():
        raise FileError(f"{path}: cannot be written: no folder {target.parent}")
    if target.exists() and not target.is_file():
        raise FileError(f"{path}: cannot be written: not a regular file")
    if not os.access(target.parent, os.W_OK):
        raise FileError(f"{path}: cannot be written: folder {target.parent} is read-only")


@contextmanager
def atomic_write(path: Path | str) -> Iterator[IO[bytes]]:
    """Open `path` for writing; it appears, whole, when the block ends, and not at all if it fails.

    Raises
    ------
    FileError
        If the folder is missing or cannot be written.
    """
    check_target(path)
    try:
        with written_whole(Path(path).resolve()) as file:  # a link stays one
            yield file
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """The same without a look at the target before, for files that are no user's; OSError if it fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".microzone-")  # any name is short enough
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the file has its name: a power cut leaves all of it or none
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

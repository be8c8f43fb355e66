"""Folders for the files of a while: gone at the end of a run, after a killed one at the start of the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .toolchain import ToolError

__all__ = ["LOCK", "Scratch", "remove_scratch", "sweep"]

_PREFIX = "microzone-"
LOCK = ".in-use"
"""The file in each of them whose lock says that it is in use."""
_open: set[Scratch] = set()
_swept: set[str] = set()


class Scratch:
    """A folder of its own, with all in it, until it is closed.

    A lock says that it is in use: the system lets go of it when this process ends, however it ends.

    Parameters
    ----------
    inside : Path, optional
        Where it is; else where the system has such files (``TMPDIR``).
    prefix : str
        What its name begins with.

    Attributes
    ----------
    path : Path

    Raises
    ------
    ToolError
        If the folder cannot be made.
    """

    def __init__(self, inside: Path | None = None, prefix: str = _PREFIX) -> None:
        self._lock = -1
        try:
            place = str(inside or tempfile.gettempdir())
            if place not in _swept:
                _swept.add(place)
                sweep(Path(place), prefix)
            while self._lock < 0:
                self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
                self._lock = _locked(self.path, os.O_CREAT)  # unless one that sweeps was faster
        except OSError as error:
            where = f" in {inside}" if inside else ""
            reason = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
            variable = "MICROZONE_CACHE" if inside else "TMPDIR"
            raise ToolError(
                f"no folder for temporary files{where}: {reason}; choose another place with {variable}"
            ) from None
        _open.add(self)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder. What a program still writes into it is removed by :func:`remove_scratch`."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            _open.discard(self)

    def keep_as(self, target: Path) -> None:
        """Give the folder its final name instead of removing it; OSError if that is taken."""
        (self.path / LOCK).unlink(missing_ok=True)
        self.path.rename(target)
        self.close()


def remove_scratch() -> None:
    """Remove all folders of this process, once its programs have ended."""
    for scratch in tuple(_open):
        scratch.close()


def sweep(place: Path, prefix: str = _PREFIX) -> None:
    """Remove the folders that killed runs of this user's have left in `place`."""
    for left in place.glob(f"{prefix}*"):
        with suppress(OSError):
            mine = left.is_dir() and not left.is_symlink() and left.stat().st_uid == os.getuid()
            if mine and (lock := _locked(left, 0)) >= 0:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path, flags: int) -> int:
    """The lock of a folder, once it is held; -1 if somebody else has it or the folder is gone."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | flags, 0o600)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever sweeps may have removed the folder before the lock was held.
        if (folder / LOCK).stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except OSError:
        pass
    os.close(lock)
    return -1

"""What was made once and is kept in the cache: folders and texts, whole or not at all, checked at each use.

A name has the key of all that the content depends on (``golden_model/provenance.py``). The content has a
digest beside it: what a full disk, a power cut or a stray hand has damaged is made again, never believed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..golden_model.files import FileError, cache_path, make_cache, written_whole
from .scratch import LOCK, Scratch
from .toolchain import ToolError

__all__ = ["cache_folder", "in_cache", "kept_folder", "kept_text", "prune", "size_of"]

_CONTENTS = "contents.json"
_KEY_DIGITS = 20
_OURS = re.compile(r"[\w-]+-[0-9a-f]{20}(\.sv)?|build-\w+|failed-[\w-]+\.log|verilator-bin-[\d.]+|yowasp")
"""Names of what is in the cache: kept under a key, half-made, a log of what failed, other tools' own."""


def cache_folder() -> Path:
    """The folder of ``files.make_cache``; ToolError if it cannot be used."""
    with in_cache():
        try:
            return make_cache()
        except FileError as error:
            raise ToolError(str(error)) from None


def prune() -> tuple[Path, int]:
    """Empty the cache of all that microzone has put there; the folder, and how many bytes it was.

    Other files stay: the folder may be any that ``MICROZONE_CACHE`` names.

    Raises
    ------
    ToolError
        If something cannot be removed.
    """
    folder, freed = cache_path(), 0
    with in_cache():
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if _OURS.fullmatch(path.name) and not path.is_symlink():
                freed += size_of(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder, freed


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    within = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.lstat().st_size for each in within if not each.is_dir())


@contextmanager
def in_cache() -> Iterator[None]:
    """A use of the cache; ToolError where its disk is full, or its folder may not be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ToolError(f"cache folder {cache_path()}: {reason}; choose one with MICROZONE_CACHE") from None


def kept_folder(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A folder as `make` fills it, from the cache where that was done before and nothing of it is damaged.

    Parameters
    ----------
    name, key : str
        Of the folder.
    make : callable
        Fills the folder that it is given, which has another name until it is whole.

    Raises
    ------
    ToolError
        As :func:`cache_folder`; and what `make` raises.
    """
    target = cache_folder() / f"{name}-{key[:_KEY_DIGITS]}"
    if _is_whole(target):
        return target
    work = Scratch(cache_folder(), "build-")
    try:
        make(work.path)
        with in_cache():
            _write_contents(work.path)
            # Somebody else may have made the same meanwhile, and be using it.
            with _alone(target.parent):
                if not _is_whole(target):
                    _remove(target)
                    work.keep_as(target)
    finally:
        work.close()
    return target


def kept_text(name: str, key: str, make: Callable[[], str]) -> str:
    """What `make` makes, from the cache where it has been made under the same key before; as for folders."""
    path = cache_folder() / f"{name}-{key[:_KEY_DIGITS]}.sv"
    with in_cache():
        held = path.read_bytes() if path.is_file() else b""
    digest, _, body = held.partition(b"\n")
    if digest != _line(body):
        body = make().encode()
        with in_cache(), written_whole(path) as file:
            file.write(_line(body) + b"\n" + body)
    return body.decode()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process puts anything into the cache, or takes it out, meanwhile."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _line(body: bytes) -> bytes:
    return b"// sha256 of what follows: " + hashlib.sha256(body).hexdigest().encode()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (_CONTENTS, LOCK))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_contents(folder: Path) -> None:
    """Bring all files to the disk, and then what they are."""
    listed = {}
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        listed[path.relative_to(folder).as_posix()] = _digest(path)
    with written_whole(folder / _CONTENTS) as file:
        file.write(json.dumps(listed).encode())


def _is_whole(folder: Path) -> bool:
    """Whether a folder has every file that it was made with, unchanged."""
    try:
        listed = json.loads((folder / _CONTENTS).read_bytes())
        return bool(listed) and all(_digest(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, AttributeError):
        return False


def _remove(target: Path) -> None:
    """Remove what is damaged: first its name, so that nobody finds it half there."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix="build-", dir=target.parent))
        target.replace(aside / "damaged")
        shutil.rmtree(aside, ignore_errors=True)

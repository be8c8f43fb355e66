"""Files of users, read with limits: whatever a file holds, reading it ends soon, in bounded memory.

All verbs read through here. A file is opened without waiting, and only if it is a regular one: a pipe, a
device or a folder is refused. What it holds is refused before it is unpacked or built where it is larger or
deeper than anything that this program can use. Each refusal is one line.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .files import FileError

__all__ = [
    "BITS_OF_INTEGERS",
    "InputFile",
    "as_number",
    "as_steps",
    "check_ascending",
    "entry_names",
    "in_bytes",
    "load_array",
    "load_entries",
    "open_input",
    "parse_toml",
    "read_json",
    "read_toml",
]

MOST_TEXT = 1 << 20
"""Bytes of a TOML file; a complete configuration has 3000."""
MOST_JSON = 16 << 20
"""Bytes of a JSON file, which this program itself has written."""
MOST_ARRAYS = 256 << 20
"""Bytes of what is read of an ``.npz`` or ``.npy`` file, unpacked, where the caller does not know better."""
DEEPEST = 16
"""Tables and lists in each other; a configuration has four."""
BITS_OF_INTEGERS = 64
"""TOML's integers, with their sign."""

_MOST_READ = 1 << 20
"""Bytes of one read in an archive: its list of contents is read in one."""
_MOST_KEYS = 1000
"""Of a table."""
_KEY_PARTS = 100
"""Of a dotted key: the time that ``tomllib`` takes grows with their square."""


# --- opening ----------------------------------------------------------------------------------


class InputFile(io.BufferedReader):
    """A user's file.

    Attributes
    ----------
    size : int
        Bytes that it has.
    most_at_once : int or None
        Bytes that one read may ask for, if there is a limit: a library makes room for what it asks for. A
        read beyond it is a ValueError.
    """

    most_at_once: int | None = None

    @property
    def size(self) -> int:
        return os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = self.size - self.tell()
        if self.most_at_once is not None and size > self.most_at_once:
            raise ValueError(f"asks for {size} bytes at once")
        return super().read(size)


_KINDS = (
    (stat.S_ISDIR, "Is a directory"),
    (stat.S_ISFIFO, "is a pipe, needs a regular file"),
    (stat.S_ISSOCK, "is a socket, needs a regular file"),
    (stat.S_ISCHR, "is a device, needs a regular file"),
    (stat.S_ISBLK, "is a device, needs a regular file"),
)


def _descriptor(path: Path | str) -> int:
    """An open file; FileError if there is none, or it is not a regular one. Does not wait for a writer."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None
    except ValueError:  # a NUL, or half a character
        raise FileError(f"{path}: is not the name of a file") from None
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return number
    os.close(number)
    what = next((text for is_one, text in _KINDS if is_one(mode)), "is not a regular file")
    raise FileError(f"{path}: {what}")


@contextmanager
def open_input(path: Path | str) -> Iterator[InputFile]:
    """A user's file, open for reading; FileError if it is none, or a read fails."""
    try:
        with InputFile(io.FileIO(_descriptor(path))) as file:
            yield file
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None


def _read_bytes(path: Path | str, most: int) -> bytes:
    with open_input(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FileError(f"{path}: longer than {in_bytes(most)}, the limit of such a file")
    return content


def _read_text(path: Path | str, most: int) -> str:
    try:
        return _read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: byte {error.start}, {error.object[error.start]:#04x}, cannot be decoded as UTF-8"
        ) from None


def in_bytes(count: int) -> str:
    """A size in words."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.4g} {unit}"
    return f"{count} bytes"


# --- TOML and JSON ----------------------------------------------------------------------------


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    Raises
    ------
    FileError
        ``not TOML: ...``, or a key, an integer or a nesting beyond all limits.
    """
    if any(part.count(".") >= _KEY_PARTS for part in re.split(r"[=,\[\]{}\n]", text)):
        raise FileError(f"not TOML: a key of more than {_KEY_PARTS} parts")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise FileError(f"not TOML: more than {DEEPEST} tables or lists in each other") from None
    except ValueError as error:  # TOMLDecodeError is one; so is an integer of thousands of digits
        raise FileError(f"not TOML: {error}") from None
    _check_depth(found, "not TOML")
    return found


def read_toml(path: Path | str) -> dict[str, Any]:
    """What a TOML file holds; FileError, with the path, as :func:`parse_toml`."""
    text = _read_text(path, MOST_TEXT)
    try:
        return parse_toml(text)
    except FileError as error:
        raise FileError(f"{path}: {error}") from None


def read_json(path: Path | str) -> Any:
    """What a JSON file holds; FileError if it is none, too long or too deep."""
    text = _read_text(path, MOST_JSON)
    try:
        found = json.loads(text)
        _check_depth(found, "not JSON of this program")
    except FileError as error:
        raise FileError(f"{path}: {error}") from None
    except RecursionError:
        raise FileError(f"{path}: not JSON of this program: too deep") from None
    except ValueError as error:
        raise FileError(f"{path}: cannot be read as JSON ({_short(error)})") from None
    return found


def _check_depth(value: Any, what: str) -> None:
    """FileError for a value that is nested too deep, or has an integer that no machine word holds."""
    left = [(value, 0)]
    while left:
        each, depth = left.pop()
        if depth > DEEPEST:
            raise FileError(f"{what}: more than {DEEPEST} tables or lists in each other")
        if isinstance(each, dict):
            if len(each) > _MOST_KEYS:
                raise FileError(f"{what}: a table of more than {_MOST_KEYS} keys")
            left += [(inner, depth + 1) for inner in each.values()]
        elif isinstance(each, list):
            left += [(inner, depth + 1) for inner in each]
        elif isinstance(each, int) and not -(1 << 63) <= each < 1 << 63:
            raise FileError(f"{what}: an integer of more than {BITS_OF_INTEGERS} bits")


# --- arrays of numpy --------------------------------------------------------------------------


@contextmanager
def _open_archive(path: Path | str) -> Iterator[zipfile.ZipFile]:
    """An open ``.npz`` file; FileError if it is not one, or an entry that is read is damaged."""
    try:
        with open_input(path) as file:
            file.most_at_once = _MOST_READ
            if not zipfile.is_zipfile(file):
                raise FileError(f"{path}: not an .npz file")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except FileError:
        raise
    except Exception as error:  # numpy and zipfile let out whatever a damaged archive trips over
        raise FileError(f"{path}: not a readable .npz file ({_short(error)})") from None


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def entry_names(path: Path | str) -> list[str]:
    """What the entries of an ``.npz`` file are called; FileError if it is not one."""
    with _open_archive(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def load_entries(
    path: Path | str, names: tuple[str, ...], *, most: int = MOST_ARRAYS
) -> dict[str, npt.NDArray[Any]]:
    """The named entries that an ``.npz`` file has.

    Parameters
    ----------
    path : Path or str
    names : tuple of str
    most : int
        Bytes that they may have together, unpacked.

    Raises
    ------
    FileError
        If the file is none, or an entry is no array, or they are larger; before room is made for them.
    """
    found = {}
    left = most
    with _open_archive(path) as archive:
        there = set(archive.namelist())
        for name in names:
            if name in there:
                raise FileError(f"{path}: {name}: not an array")
            if f"{name}.npy" not in there:
                continue
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FileError(f"{path}: {name}: packed in a way that numpy does not use")
            with archive.open(info) as member:
                size = _declared_bytes(member)
            if size > left:
                raise FileError(f"{path}: {name}: {in_bytes(size)} unpacked, limit is {in_bytes(left)}")
            if size > info.file_size:
                raise FileError(f"{path}: {name}: cut short: {size} bytes of numbers in {info.file_size}")
            left -= size
            with archive.open(info) as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):
                    raise FileError(f"{path}: {name}: longer than its array")
    return found


def load_array(path: Path | str, *, most: int = MOST_ARRAYS) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file; FileError if it is none, or larger than so many bytes."""
    with open_input(path) as file:
        try:
            size = _declared_bytes(file)
            there = os.fstat(file.fileno()).st_size
            if size > min(most, there):
                why = "limit is" if size > most else "cut short: the file has"
                raise FileError(f"{path}: {in_bytes(size)} of numbers, {why} {in_bytes(min(most, there))}")
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, FileError):
            raise
        except Exception as error:  # whatever numpy trips over in a damaged file
            raise FileError(f"{path}: not a readable .npy file ({_short(error)})") from None


def _declared_bytes(file: IO[bytes]) -> int:
    """What an array takes by its header; ValueError if it has none that is short and plain."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # longer headers are of tables with hundreds of columns
        raise ValueError(f"array format {version[0]}.{version[1]}, needs 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of objects, needs numbers")
    if any(length < 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    return math.prod(shape) * max(dtype.itemsize, 1)


# --- what entries must be ---------------------------------------------------------------------


def as_number(name: str, entry: npt.NDArray[Any]) -> int:
    """An entry that is one whole number; FileError names it otherwise."""
    if entry.size != 1 or entry.dtype.kind not in "iu":
        raise FileError(f"{name}: must be one whole number, is {entry.dtype} of {entry.size}")
    return int(entry.item())


def as_steps(name: str, entry: npt.NDArray[Any], *, dimensions: int = 1) -> npt.NDArray[np.int64]:
    """An entry of whole numbers as int64; FileError names it otherwise."""
    if entry.ndim != dimensions:
        wanted = "one dimension" if dimensions == 1 else f"{dimensions} dimensions"
        raise FileError(f"{name}: must have {wanted}, has shape {entry.shape}")
    if entry.size and entry.dtype.kind not in "iu":
        raise FileError(f"{name}: must be whole numbers, is {entry.dtype}")
    if entry.size and entry.dtype.kind == "u" and entry.max() > np.iinfo(np.int64).max:
        raise FileError(f"{name}: has an entry of {entry.max()}, beyond 64 bits with a sign")
    return entry.astype(np.int64)


def check_ascending(
    name: str, steps: npt.NDArray[np.int64], limit: int | None, *, bound: str = "n_steps - 1"
) -> None:
    """FileError unless the steps ascend from 0 on and stay below the limit."""
    if not steps.size:
        return
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if falls.size:
        at = int(falls[0]) + 1
        raise FileError(f"{name}[{at}] = {steps[at]}: not above the entry before it ({steps[at - 1]})")
    if steps[0] < 0:
        raise FileError(f"{name}[0] = {steps[0]}: below 0")
    if limit is not None and steps[-1] >= limit:
        raise FileError(f"{name}[{steps.size - 1}] = {steps[-1]}: limit is {bound} = {limit - 1}")

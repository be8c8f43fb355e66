"""``.npz`` files of any length: an entry is written a piece at a time, and never in memory as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.files import atomic_write

__all__ = ["Pieces", "write_archive"]


@dataclass(frozen=True)
class Pieces:
    """An entry that is made as it is written.

    Attributes
    ----------
    dtype : type
    shape : tuple of int
    make : callable
        Gives the pieces, one after the other.
    """

    dtype: type
    shape: tuple[int, ...]
    make: Callable[[], Iterator[npt.NDArray[Any]]]


def write_archive(path: Path, entries: Mapping[str, npt.NDArray[Any] | Pieces]) -> None:
    """Write a compressed ``.npz`` file as ``numpy.savez_compressed`` does.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in entries.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                if isinstance(entry, np.ndarray):
                    np.lib.format.write_array(out, entry, allow_pickle=False)
                    continue
                dtype = np.dtype(entry.dtype)
                described = np.lib.format.dtype_to_descr(dtype)
                np.lib.format.write_array_header_1_0(
                    out, {"descr": described, "fortran_order": False, "shape": entry.shape}
                )
                count = 0
                for piece in entry.make():
                    count += piece.size
                    out.write(np.ascontiguousarray(piece, dtype).tobytes())
                if count != prod(entry.shape):
                    raise RuntimeError(f"{name}: {count} numbers for shape {entry.shape}")

"""MATLAB files up to version 7, by ``scipy.io``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import scipy.io

from ..files import FileError
from .mat_parts import checked_matlab

__all__ = ["read_matlab"]

_NUMBERS = frozenset(
    ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)
"""Classes of arrays, as MATLAB calls them."""


def read_matlab(path: Path) -> Mapping[str, Any]:
    """The arrays of numbers in a file, by name; FileError for version 7.3, which is HDF5.

    Cells, structures, texts and sparse matrices are passed over unread.
    """
    with checked_matlab(path) as file:
        try:
            variables = scipy.io.whosmat(file)
            names = [name for name, _, kind in variables if kind in _NUMBERS]
            for name in names:
                if sum(other == name for other, *_ in variables) > 1:
                    raise FileError(f"{path}: variable {name!r} is there twice")
            file.seek(0)
            found: dict[str, Any] = scipy.io.loadmat(file, variable_names=names) if names else {}
            return found
        except NotImplementedError:
            raise FileError(f"{path}: MATLAB 7.3 file; save it with -v7") from None

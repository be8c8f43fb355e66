"""MATLAB files up to version 7, by ``scipy.io``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import scipy.io

from ..files import FileError

__all__ = ["read_matlab"]


def read_matlab(path: Path) -> Mapping[str, Any]:
    """The variables of a file, by name; FileError for version 7.3, which is HDF5."""
    try:
        return dict(scipy.io.loadmat(path))
    except NotImplementedError:
        raise FileError(f"{path}: MATLAB 7.3 file; save it with -v7") from None

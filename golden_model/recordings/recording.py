"""Recordings by the name of their channels; each format has a reader of its own in :data:`READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import FileError
from ..inputs import open_input
from .matlab import read_matlab

__all__ = ["READERS", "Recording", "read_recording"]


@dataclass(frozen=True)
class Recording:
    """The variables of a recording file that are vectors of numbers.

    Attributes
    ----------
    path : Path
    variables : mapping of str to ndarray
        By name, each of shape (samples,), in the file's own type.
    """

    path: Path
    variables: Mapping[str, npt.NDArray[Any]]

    def vector(self, name: str) -> npt.NDArray[Any]:
        """A variable as it is in the file; FileError if there is none of that name."""
        if name not in self.variables:
            known = ", ".join(sorted(self.variables)) or "none"
            raise FileError(f"{self.path}: no channel {name!r}; channels: {known}")
        return self.variables[name]

    def channel(self, name: str, *, lsb: float | None = None) -> npt.NDArray[Any]:
        """The samples of a channel in whole ADC counts.

        Parameters
        ----------
        name : str
            Name of the variable.
        lsb : float, optional
            Value of one ADC count, for a channel in physical units; needed if the samples are not integers.

        Raises
        ------
        FileError
            If there is no such channel, it is empty, not finite, or needs `lsb`.
        """
        samples = self.vector(name)
        if not samples.size:
            raise FileError(f"{self.path}: channel {name!r} is empty")
        if lsb is None:
            if samples.dtype.kind not in "iu":
                raise FileError(
                    f"{self.path}: channel {name!r} is {samples.dtype}, not ADC counts; give the value of "
                    "one count (--lsb; of demo, --io-lsb)"
                )
            return samples
        if not (np.isfinite(lsb) and lsb > 0):
            raise FileError(f"{self.path}: value of one count = {lsb:g}, must be above 0")
        if not np.isfinite(samples).all():
            raise FileError(f"{self.path}: channel {name!r} has samples that are not finite")
        counts = np.rint(samples / lsb)
        if np.abs(counts).max() > 2**31:
            raise FileError(f"{self.path}: channel {name!r} exceeds 2**31 counts of {lsb:g}")
        return counts.astype(np.int64)


READERS: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {".mat": read_matlab}
"""By file name suffix: a function from path to variables."""


def read_recording(path: Path | str) -> Recording:
    """Read a recording; FileError if it is missing, of an unknown kind, or damaged."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(f"{path}: unknown kind of recording, known are {', '.join(READERS)}")
    try:
        with open_input(path):
            variables = reader(path)
    except FileError as error:
        raise FileError(str(error).replace("No such file or directory", "no such file")) from None
    except Exception as error:  # scipy lets out whatever a damaged file trips over
        raise FileError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    vectors = {
        name: np.ravel(value)
        for name, value in variables.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size == max(value.shape)
    }
    return Recording(path, vectors)

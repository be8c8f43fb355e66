"""Recordings by the name of their channels; each format has a reader of its own in :data:`READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..amplifier import STEP_UV
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
            If there is no such channel, it is empty, not finite, needs `lsb`, or is rounded to nothing by it.
        """
        samples = self.vector(name)
        if not samples.size:
            raise FileError(f"{self.path}: channel {name!r} is empty")
        if lsb is None:
            if samples.dtype.kind not in "iu":
                raise FileError(
                    f"{self.path}: channel {name!r} is {samples.dtype}, not ADC counts; give the value of "
                    f"one count (--lsb; of demo, --io-lsb){_likely_lsb(samples)}"
                )
            return samples
        if not (np.isfinite(lsb) and lsb > 0):
            raise FileError(f"{self.path}: value of one count = {lsb:g}, must be above 0")
        finite = np.isfinite(samples)
        if not finite.all():
            raise FileError(
                f"{self.path}: channel {name!r} has samples that are not finite: {np.sum(~finite)} of "
                f"{samples.size}"
            )
        counts = np.rint(samples / lsb)
        if np.ptp(counts) < _LEAST_COUNTS and np.unique(counts).size < np.unique(samples).size:
            raise FileError(
                f"{self.path}: channel {name!r} is rounded to nothing by {lsb:g} a count: counts from "
                f"{counts.min() + 0:.0f} to {counts.max() + 0:.0f}{_likely_lsb(samples)}"
            )
        if np.abs(counts).max() > 2**31:
            raise FileError(f"{self.path}: channel {name!r} exceeds 2**31 counts of {lsb:g}")
        return counts.astype(np.int64)


def _likely_lsb(samples: npt.NDArray[Any]) -> str:
    """What one count may be, by how large the samples of an electrode are; nothing where none is finite."""
    finite = samples[np.isfinite(samples)]
    largest = float(np.abs(finite).max(initial=0.0))
    if not largest:
        return ""
    # An electrode's signal is within 10 mV, as the range of the amplifiers is.
    unit, volts = next(each for each in _UNITS if largest <= 0.01 / each[1] or each is _UNITS[-1])
    lsb = STEP_UV * 1e-6 / volts
    return f"; samples lie within ±{largest:.3g}: if in {unit}, {lsb:g} is {STEP_UV:g} µV a count"


_LEAST_COUNTS = 16
"""From the lowest to the highest sample: the noise of an electrode alone has more."""
_UNITS = (("volts", 1.0), ("millivolts", 1e-3), ("microvolts", 1e-6))

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

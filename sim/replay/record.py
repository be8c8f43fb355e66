"""What a replay has recorded: decoding it, and comparing it with the fixed-point model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.fixed import QFormat
from ...golden_model.recalibration import Outcome
from .comparison import RECALIBRATION, first_difference, first_recalibration

__all__ = [
    "RECORD_BITS",
    "BenchFailure",
    "check_record",
    "read_recalibrations",
    "read_record",
    "recalibration_rows",
    "signed_words",
]

Signals = dict[str, npt.NDArray[Any]]

RECORD_BITS = (
    "active",
    "plasticity_trace",
    "delayed_inhibition",
    "gated_io",
    "below",
    "cr",
    "inhibition",
    "response",
)
"""The low byte of a record, from bit 0; `response` is the CR that left on the stream."""


class BenchFailure(AssertionError):
    """A bench that ran and found a difference; the message is the bench's own."""


def check_record(environment: Mapping[str, str], *, full: bool) -> None:
    """Compare a record with the signals that are expected, where they are given.

    Parameters
    ----------
    environment : mapping of str to str
        ``MICROZONE_EXPECTED`` (.npz; without it nothing is compared), ``_RECORD``, ``_CONFIG`` (TOML),
        ``_RECALIBRATIONS``, ``_SCENARIO`` and ``_AGAIN`` for the message.
    full : bool
        Whether the record has every signal.

    Raises
    ------
    BenchFailure
        With the first difference, the seed, and the command that repeats the run.
    """
    if "MICROZONE_EXPECTED" not in environment:
        return
    config = ChipConfig.from_toml(environment["MICROZONE_CONFIG"])
    with np.load(environment["MICROZONE_EXPECTED"]) as archive:
        expected = dict(archive)
    channels = expected["weight"].shape[1]
    actual = read_record(Path(environment["MICROZONE_RECORD"]), config, channels, full=full)
    difference = first_difference(expected, actual, config)
    if difference is None and config.recalibration.enabled:
        rows = read_recalibrations(Path(environment["MICROZONE_RECALIBRATIONS"]))
        difference = first_recalibration(expected["recalibrations"], rows)
    if difference is not None:
        again = environment["MICROZONE_AGAIN"]
        raise BenchFailure(f"{environment['MICROZONE_SCENARIO']}: {difference}; {again}")


def read_record(path: Path, config: ChipConfig, channels: int, *, full: bool) -> Signals:
    """Decode what ``replay.sv`` has written; arrays of shape (steps, channels)."""
    words = np.fromfile(path, "<u8").reshape(-1, channels, 3 if full else 1)
    low = words[..., 0]
    signals: Signals = {
        name: ((low >> np.uint64(bit)) & np.uint64(1)).astype(np.int64)
        for bit, name in enumerate(RECORD_BITS)
    }
    signals["weight"] = signed_words(low >> np.uint64(16), config.formats.weight)
    if full:
        signals["age"] = (words[..., 1] & np.uint64(0xFFFF)).astype(np.int64)
        signals["trace"] = (words[..., 1] >> np.uint64(16)).astype(np.int64)
        signals["scaled"] = signed_words(words[..., 2], config.scaled_format)
    return signals


def read_recalibrations(path: Path) -> npt.NDArray[np.int64]:
    """Recalibrations that ``replay.sv`` has written, in the columns of ``comparison.RECALIBRATION``."""
    words = np.fromfile(path, "<u8").reshape(-1, 4).astype(np.int64)
    first = words[:, 0]
    return np.stack([first & 0xFFFFFFFF, first >> 32 & 0xFFFF, first >> 48, *words[:, 1:].T], axis=1)


def recalibration_rows(outcomes: Sequence[Outcome[Any]], kind: type = np.int64) -> npt.NDArray[Any]:
    """What a golden model reports, in the same columns: raw words, or real values of `kind` float64."""
    rows = [[getattr(outcome, name) for name in RECALIBRATION] for outcome in outcomes]
    return np.array(rows, kind).reshape(-1, len(RECALIBRATION))


def signed_words(words: npt.NDArray[np.uint64], fmt: QFormat) -> npt.NDArray[np.int64]:
    """Raw words from the low bits of a field."""
    values = (words & np.uint64((1 << fmt.width) - 1)).astype(np.int64)
    return values - ((values >> fmt.width - 1 & 1) << fmt.width) if fmt.signed else values

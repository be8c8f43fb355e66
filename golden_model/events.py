"""Events and result files: what goes into a microcircuit and what comes out, as ``.npz``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import ChipConfig, ConfigError
from .files import FileError, atomic_write
from .inputs import as_number, as_steps, check_ascending, load_entries
from .recalibration import Status

__all__ = ["MAX_STEPS", "Events", "Recalibrations", "Result", "Steps"]

Steps = npt.NDArray[np.int64]

MAX_STEPS = 2 * 10**8
"""Longest file in steps: 4.6 days at 2 ms, and 1.6 GB for w."""


def _no_steps() -> Steps:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Events:
    """Detections of one microcircuit, and the triggers of the trials.

    Attributes
    ----------
    pn, io : ndarray of int64
        Steps with a detection in the pontine nuclei (CS) and the inferior olive (US); ascending, unique.
    n_steps : int
        Length in steps; every entry is below it.
    cs, us : ndarray of int64
        Steps of the trial triggers; empty where there are no trials.
    samples : ndarray of int64 or None
        Sample index of each event, in a file that comes from a recording.
    blanked : ndarray of int64, shape (n, 2)
        Stretches in which the IO channel was blanked: first step, and the step after the last; ascending,
        not touching. IO detections in them do not count.
    spontaneous_start : int or None
        Where the trials end and a period without stimuli begins, in a training session.

    Raises
    ------
    FileError
        If an entry is unsorted, repeated or out of range; the message names the entry.
    """

    pn: Steps
    io: Steps
    n_steps: int
    cs: Steps = field(default_factory=_no_steps)
    us: Steps = field(default_factory=_no_steps)
    samples: Steps | None = None
    blanked: Steps = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    spontaneous_start: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise FileError(f"n_steps = {self.n_steps}: limits are 1 and {MAX_STEPS}")
        for name in ("pn", "io", "cs", "us"):
            check_ascending(name, getattr(self, name), self.n_steps)
        if self.samples is not None:
            check_ascending("samples", self.samples, None)
        if self.blanked.ndim != 2 or self.blanked.shape[1] != 2:
            raise FileError(f"blanked: must have shape (n, 2), has {self.blanked.shape}")
        check_ascending("blanked", self.blanked.ravel(), self.n_steps + 1, bound="n_steps")
        if self.spontaneous_start is not None and not 0 <= self.spontaneous_start < self.n_steps:
            raise FileError(
                f"spontaneous_start = {self.spontaneous_start}: limits are 0 and n_steps - 1 = "
                f"{self.n_steps - 1}"
            )

    @property
    def pn_steps(self) -> npt.NDArray[np.bool_]:
        """P: one bool a step, shape (n_steps,)."""
        return _dense(self.pn, self.n_steps)

    @property
    def io_steps(self) -> npt.NDArray[np.bool_]:
        """I: one bool a step, shape (n_steps,)."""
        return _dense(self.io, self.n_steps)

    @property
    def blanked_steps(self) -> npt.NDArray[np.bool_]:
        """Whether the IO channel was blanked: one bool a step, shape (n_steps,)."""
        edges = np.zeros(self.n_steps + 1, np.int8)
        edges[self.blanked[:, 0]] += 1
        edges[self.blanked[:, 1]] -= 1
        return np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)

    @classmethod
    def load(cls, path: Path | str) -> Events:
        """Read an events file.

        Raises
        ------
        FileError
            If the file or an entry is missing or malformed; the message names both.
        """
        names = ("pn", "io", "n_steps", "cs", "us", "samples", "blanked", "spontaneous_start")
        entries = load_entries(path, names)
        try:
            for name in ("pn", "io", "n_steps"):
                if name not in entries:
                    raise FileError(f"{name}: entry is missing")
            known: dict[str, Any] = {
                name: as_number(name, entries.pop(name))
                for name in ("n_steps", "spontaneous_start")
                if name in entries
            }
            if "blanked" in entries:
                known["blanked"] = as_steps("blanked", entries.pop("blanked"), dimensions=2)
            known |= {name: as_steps(name, entry) for name, entry in entries.items()}
            return cls(**known)
        except FileError as error:
            raise FileError(f"{path}: {error}") from None

    def save(self, path: Path | str) -> None:
        """Write an events file; FileError if it cannot be written."""
        entries: dict[str, Any] = {"pn": self.pn, "io": self.io, "n_steps": np.int64(self.n_steps)}
        if self.cs.size or self.us.size:
            entries |= {"cs": self.cs, "us": self.us}
        if self.samples is not None:
            entries["samples"] = self.samples
        if self.blanked.size:
            entries["blanked"] = self.blanked
        if self.spontaneous_start is not None:
            entries["spontaneous_start"] = np.int64(self.spontaneous_start)
        with atomic_write(path) as file:
            np.savez_compressed(file, **entries)


@dataclass(frozen=True)
class Recalibrations:
    """When δp and δd of one microcircuit were recalibrated, and to what.

    Attributes
    ----------
    step : ndarray of int64, shape (n,)
        The first step that learnt with them.
    status : ndarray of int64, same shape
        ``recalibration.Status``: where it is not GOOD, δp and δd are as before.
    rate_hz, potentiation, depression : ndarray of float64, same shape
        IO rate, δp a step, δd an event.
    """

    step: Steps
    status: Steps
    rate_hz: npt.NDArray[np.float64]
    potentiation: npt.NDArray[np.float64]
    depression: npt.NDArray[np.float64]


_BYTES_A_STEP, _MOST_BESIDE = 16, 32 << 20
"""Of a result file: w in real numbers and raw; CRs, recalibrations and the configuration."""
_RECALIBRATIONS = {name: f"recalibration_{name}" for name in Recalibrations.__dataclass_fields__}
"""Entry of a result file, by field."""


@dataclass(frozen=True)
class Result:
    """What one model answered to one events file.

    Attributes
    ----------
    cr : ndarray of int64
        Steps with a conditioned response.
    w : ndarray of float64, shape (n_steps,)
        w after each step.
    w_raw : ndarray of int64 or None, same shape
        Its raw words, for the fixed-point model and the gateware.
    config : ChipConfig
        The configuration that was run.
    recalibrations : Recalibrations or None
        Where the configuration has them enabled.
    """

    cr: Steps
    w: npt.NDArray[np.float64]
    w_raw: Steps | None
    config: ChipConfig
    recalibrations: Recalibrations | None = None

    @classmethod
    def load(cls, path: Path | str, *, n_steps: int = MAX_STEPS) -> Result:
        """Read a result file of at most so many steps; FileError names the file and the entry."""
        names = ("cr", "w", "w_raw", "config", *_RECALIBRATIONS.values())
        entries = load_entries(path, names, most=_BYTES_A_STEP * n_steps + _MOST_BESIDE)
        try:
            for name in ("cr", "w", "config"):
                if name not in entries:
                    raise FileError(f"{name}: entry is missing")
            w = entries["w"]
            if w.ndim != 1 or w.dtype != np.float64:
                raise FileError(f"w: must be float64 of one dimension, is {w.dtype} of shape {w.shape}")
            cr = as_steps("cr", entries["cr"])
            check_ascending("cr", cr, w.size)
            w_raw = as_steps("w_raw", entries["w_raw"]) if "w_raw" in entries else None
            if w_raw is not None and w_raw.shape != w.shape:
                raise FileError(f"w_raw: has {w_raw.size} entries, w has {w.size}")
            text = entries["config"]
            if text.dtype.kind != "U" or text.size != 1:
                raise FileError(f"config: must be one text, is {text.dtype} of {text.size}")
            config = ChipConfig.from_toml(str(text.item()))
            recalibrations = _recalibrations(entries, w.size)
            if recalibrations is not None and not config.recalibration.enabled:
                raise FileError("config: does not recalibrate, but the file has recalibrations")
            return cls(cr, w, w_raw, config, recalibrations)
        except (FileError, ConfigError) as error:
            raise FileError(f"{path}: {error}") from None

    def save(self, path: Path | str) -> None:
        """Write a result file; FileError if it cannot be written."""
        entries: dict[str, Any] = {"cr": self.cr, "w": self.w, "config": np.array(self.config.to_toml())}
        if self.w_raw is not None:
            entries["w_raw"] = self.w_raw
        if self.recalibrations is not None:
            for name, entry in _RECALIBRATIONS.items():
                entries[entry] = getattr(self.recalibrations, name)
        with atomic_write(path) as file:
            np.savez_compressed(file, **entries)


def _recalibrations(entries: dict[str, npt.NDArray[Any]], n_steps: int) -> Recalibrations | None:
    """The recalibrations of a result file, if it has them; FileError names an entry that does not fit."""
    present = [entry for entry in _RECALIBRATIONS.values() if entry in entries]
    if not present:
        return None
    fields: dict[str, npt.NDArray[Any]] = {}
    for name, entry in _RECALIBRATIONS.items():
        if entry not in entries:
            raise FileError(f"{entry}: entry is missing, beside {present[0]}")
        values = entries[entry]
        fields[name] = as_steps(entry, values) if name in ("step", "status") else _as_real(entry, values)
        if fields[name].shape != fields["step"].shape:
            raise FileError(
                f"{entry}: has shape {values.shape}, {_RECALIBRATIONS['step']} {fields['step'].shape}"
            )
    check_ascending(_RECALIBRATIONS["step"], fields["step"], n_steps + 1, bound="n_steps")
    for status in np.unique(fields["status"]):
        if status not in list(Status):
            raise FileError(f"{_RECALIBRATIONS['status']}: has {status}, limits are 0 and {max(Status)}")
    return Recalibrations(**fields)


def _as_real(name: str, entry: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """An entry of finite real numbers; FileError names it otherwise."""
    if entry.dtype.kind != "f" or not np.isfinite(entry).all():
        raise FileError(f"{name}: must be finite numbers of floating point, is {entry.dtype}")
    return entry.astype(np.float64)


def _dense(steps: Steps, n_steps: int) -> npt.NDArray[np.bool_]:
    dense = np.zeros(n_steps, np.bool_)
    dense[steps] = True
    return dense

"""Spaces of a chip's parameters: the fields of the configuration that a vector z stands for, and limits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig, PrecisionWarning
from ..fixed import QFormat

__all__ = ["CHIP", "PARAMETERS", "WORDS", "Parameter", "ParameterSpace"]

Reals = npt.NDArray[np.float64]
Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Parameter:
    """One coordinate of z.

    Attributes
    ----------
    name, label : str
        For files, and for pictures.
    low, high : float
        Of the box.
    sections : callable
        (value, configuration) to the changes of the configuration.
    of : callable
        The value that a configuration has.
    integer : bool
        Whole numbers only; both limits included.
    """

    name: str
    label: str
    low: float
    high: float
    sections: Callable[[float, ChipConfig], Sections]
    of: Callable[[ChipConfig], float]
    integer: bool = False


def _delays(value: float, config: ChipConfig) -> Sections:
    whole = config.steps(value) * config.time.step_s
    return {"noi": {"delay_s": whole}, "eligibility": {"delay_s": whole}}


def _log(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def _word(name: str, label: str, low: int, high: int, *fields: str) -> Parameter:
    """Fraction bits of the formats of these fields, all the same."""

    def change(value: float, config: ChipConfig) -> Sections:
        formats = {}
        for field in fields:
            fmt: QFormat = getattr(config.formats, field)
            formats[field] = str(QFormat(fmt.signed, fmt.integer_bits, round(value)))
        return {"formats": formats}

    def of(config: ChipConfig) -> float:
        fmt: QFormat = getattr(config.formats, fields[0])
        return fmt.fraction_bits

    return Parameter(name, label, low, high, change, of, integer=True)


PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter(
            "potentiation", "log10 δp (a step)", -6.0, -3.0,
            lambda v, c: {"plasticity": {"potentiation": 10.0**v}}, lambda c: _log(c.plasticity.potentiation),
        ),
        Parameter(
            "depression", "log10 δd (an event)", -3.0, -0.5,
            lambda v, c: {"plasticity": {"depression": 10.0**v}}, lambda c: _log(c.plasticity.depression),
        ),
        Parameter(
            "threshold", "θ/τ1", 0.2, 0.5,
            lambda v, c: {"threshold": {"level": v * c.trace.end}},
            lambda c: c.threshold.level / (c.trace.end or math.nan),
        ),
        Parameter("noi_delay", "Λnoi (s)", 0.0, 0.2, _delays, lambda c: c.noi.delay_s),
        _word("weight_bits", "fraction bits of w and δ", 12, 32, "weight", "potentiation", "depression"),
        _word("plasticity_bits", "fraction bits of δ", 12, 32, "potentiation", "depression"),
        _word("trace_bits", "fraction bits of T", 8, 20, "trace"),
        _word("threshold_bits", "fraction bits of θ", 6, 24, "threshold"),
    )
}  # fmt: skip
"""By name. Λnoi delays the inhibition and the plasticity trace alike, as in the paper; the words of w carry
those of δp and δd along, which may not be finer, unless ``plasticity_bits`` sets them."""
CHIP = ("potentiation", "depression", "threshold", "noi_delay")
WORDS = ("weight_bits", "plasticity_bits", "trace_bits", "threshold_bits")


class ParameterSpace:
    """A box of parameters around a configuration.

    Parameters
    ----------
    names : sequence of str
        Keys of :data:`PARAMETERS`, each once.
    config : ChipConfig, optional
        What they change; else the default.
    limits : mapping of str to (float, float), optional
        Narrower boxes.

    Raises
    ------
    ValueError
        If a name is unknown or twice there; if limits are not within the parameter's own, are not whole where
        it is, or belong to none of `names`.
    """

    def __init__(
        self,
        names: Sequence[str] = CHIP,
        config: ChipConfig | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        for name in names:
            if name not in PARAMETERS:
                raise ValueError(f"parameter {name!r}: choose from {', '.join(PARAMETERS)}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"parameters {', '.join(names)}: each once, at least one")
        for name in limits or {}:
            if name not in names:
                raise ValueError(f"limits of {name!r}: not among the parameters {', '.join(names)}")
        self.parameters = [PARAMETERS[name] for name in names]
        self.config = config or ChipConfig.make()
        self.low, self.high = (
            np.array([getattr(p, side) for p in self.parameters], np.float64) for side in ("low", "high")
        )
        for index, parameter in enumerate(self.parameters):
            low, high = (limits or {}).get(parameter.name, (parameter.low, parameter.high))
            if not parameter.low <= low < high <= parameter.high:
                raise ValueError(
                    f"{parameter.name} from {low:g} to {high:g}: limits are {parameter.low:g} and "
                    f"{parameter.high:g}, the first below the second"
                )
            if parameter.integer and (low != round(low) or high != round(high)):
                raise ValueError(f"{parameter.name} from {low:g} to {high:g}: whole numbers only")
            self.low[index], self.high[index] = low, high

    @property
    def names(self) -> list[str]:
        """Of the parameters, in order."""
        return [parameter.name for parameter in self.parameters]

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Of the box, by name."""
        return {
            name: (float(low), float(high))
            for name, low, high in zip(self.names, self.low, self.high, strict=True)
        }

    @property
    def log_volume(self) -> float:
        """Logarithm of the box's volume; an integer counts its values."""
        sizes = [
            high - low + 1 if p.integer else high - low
            for p, low, high in zip(self.parameters, self.low, self.high, strict=True)
        ]
        return float(np.log(sizes).sum())

    def uniform(self, count: int, seed: int | Sequence[int]) -> Reals:
        """Draws, shape (count, parameters)."""
        rng = np.random.default_rng(seed)
        z = rng.uniform(self.low, self.high, size=(count, len(self.parameters)))
        for index, parameter in enumerate(self.parameters):
            if parameter.integer:
                z[:, index] = rng.integers(
                    int(self.low[index]), int(self.high[index]), size=count, endpoint=True
                )
        return z

    def apply(self, z: Sequence[float] | Reals) -> ChipConfig:
        """The configuration that a vector stands for; ConfigError where there is none such."""
        changes: dict[str, dict[str, Any]] = {}
        values = dict(zip(self.names, z, strict=True))
        for name in (name for name in PARAMETERS if name in values):  # whatever order they were named in
            parameter, value = PARAMETERS[name], values[name]
            for section, fields in parameter.sections(float(value), self.config).items():
                changes.setdefault(section, {}).update(fields)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            return self.config.replace(**changes)

    def values(self, config: ChipConfig) -> Reals:
        """The vector of a configuration, shape (parameters,): the inverse of :meth:`apply`."""
        return np.array([parameter.of(config) for parameter in self.parameters])

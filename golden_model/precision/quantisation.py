"""What quantisation does to each parameter: the word that it becomes, how far off that is, bits missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config import ChipConfig
from ..fixed import WIDEST, QFormat, quantize, to_real
from ..recalibration import Row, coefficient_words
from ..representable import WARNED_ERROR

__all__ = ["Quantised", "quantised_parameters"]


@dataclass(frozen=True)
class Quantised:
    """A parameter as its format has it.

    Attributes
    ----------
    name : str
        Field of the configuration.
    value : float
        As configured, or computed from the configuration.
    fmt : QFormat
    """

    name: str
    value: float
    fmt: QFormat

    @cached_property
    def word(self) -> int:
        """Its raw word."""
        return int(quantize(self.value, self.fmt))

    @property
    def quantised(self) -> float:
        """The word's value."""
        return float(to_real(self.word, self.fmt))

    @property
    def error_lsb(self) -> float:
        """Word less value, in LSB."""
        return (self.quantised - self.value) / self.fmt.lsb

    @property
    def relative_error(self) -> float:
        """|word less value| over the value; 0 for a value of 0."""
        return abs(self.quantised / self.value - 1) if self.value else 0.0

    @property
    def rounds_to_zero(self) -> bool:
        """Whether a value that is not 0 becomes 0: an underflow."""
        return self.value != 0 and self.word == 0

    @property
    def missing_fraction_bits(self) -> int | None:
        """Fraction bits by which the relative error comes to 0.1 % or less; None if no word is that wide."""
        for more in range(WIDEST + 1 - self.fmt.width):
            wider = QFormat(self.fmt.signed, self.fmt.integer_bits, self.fmt.fraction_bits + more)
            if Quantised(self.name, self.value, wider).relative_error <= WARNED_ERROR:
                return more
        return None

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "value": self.value,
            "format": str(self.fmt),
            "raw": self.word,
            "quantised": self.quantised,
            "error_lsb": self.error_lsb,
            "relative_error": self.relative_error,
            "rounds_to_zero": self.rounds_to_zero,
            "missing_fraction_bits": self.missing_fraction_bits,
        }


def quantised_parameters(config: ChipConfig) -> list[Quantised]:
    """Parameters of the microcircuit, and the coefficients of its recalibration where it is enabled.

    A coefficient is judged as it is stored: of the rate as a share of full scale, over its polynomial's
    power of two (see ``recalibration``). What counts for its polynomial is the error in LSB.
    """
    formats = config.formats
    found = [
        Quantised("trace.start", config.trace.start, formats.trace),
        Quantised("(trace.start - trace.end)/steps", config.trace_slope, formats.trace),
        Quantised("threshold.level", config.threshold.level, formats.threshold),
        Quantised("weight.initial", config.weight.initial, formats.weight),
        Quantised("plasticity.potentiation", config.plasticity.potentiation, formats.potentiation),
        Quantised("plasticity.depression", config.plasticity.depression, formats.depression),
    ]
    coefficients = config.recalibration.coefficients
    if not config.recalibration.enabled or coefficients is None:
        return found
    words = coefficient_words(coefficients, config)
    for name, exponent in (
        ("alpha", Row.ALPHA_EXPONENT),
        ("beta", Row.BETA_EXPONENT),
        ("gamma", Row.GAMMA_EXPONENT),
    ):
        for power, value in enumerate(getattr(coefficients, name)):
            stored = value * config.rate_full_scale_hz**power * 2.0 ** -words[exponent]
            found.append(Quantised(f"recalibration.{name}[{power}]", stored, formats.coefficient))
    return found

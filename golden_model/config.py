"""The configuration of a chip: physical units in TOML, checked once, quantised in one place.

One :class:`ChipConfig` drives the float model, the fixed-point model, the gateware and the benches. What
the formats cannot represent is refused here, with the field, the value and the limit; what only loses
precision is warned about (:class:`PrecisionWarning`). The sections are in ``settings``.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from .representable import PrecisionWarning, check_representable
from .sections import ConfigError
from .settings import (
    BlankingMode,
    CalibrationRecord,
    ChannelDetection,
    ChipSettings,
    PulseShape,
    QuantisedParameters,
)

__all__ = [
    "BlankingMode",
    "CalibrationRecord",
    "ChannelDetection",
    "ChipConfig",
    "ConfigError",
    "PrecisionWarning",
    "PulseShape",
    "QuantisedParameters",
]


class ChipConfig(ChipSettings):
    """Everything that one chip is configured with, in physical units.

    Raises
    ------
    ConfigError
        From :meth:`make`, :meth:`from_toml` and :meth:`load`: one line naming field, value and limit.
    """

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_representable(self)
        return self

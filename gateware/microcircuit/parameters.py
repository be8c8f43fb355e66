"""What the access port of the microcircuit reaches: parameters, their formats, the layout of an access."""

from __future__ import annotations

import enum

from amaranth.lib import data

from ...golden_model.config import ChipConfig
from ...golden_model.fixed import QFormat
from ...golden_model.recalibration import Row, row_format
from ..events import channel_shape
from .rational import STATUS_FORMAT

__all__ = ["FIRST_ROW", "PLASTIC", "Parameter", "access_layout", "parameter_formats", "word_width"]


class Parameter(enum.Enum):
    """What the access port reaches, a raw word a channel.

    w, δp and δd; and, where recalibration is enabled, the status of the last one (read only) and the words
    of ``golden_model.recalibration.Row``, 16 above their row.
    """

    WEIGHT = 0
    POTENTIATION = 1
    DEPRESSION = 2
    STATUS = 3
    ALPHA_0 = 16
    ALPHA_1 = 17
    ALPHA_2 = 18
    ALPHA_EXPONENT = 19
    BETA_0 = 20
    BETA_1 = 21
    BETA_2 = 22
    BETA_EXPONENT = 23
    GAMMA_0 = 24
    GAMMA_1 = 25
    GAMMA_EXPONENT = 27

    @property
    def row(self) -> Row | None:
        """Row of a coefficient; None for the others."""
        return Row(self.value - 16) if self.value >= 16 else None


FIRST_ROW = Parameter.ALPHA_0.value
PLASTIC = (Parameter.WEIGHT, Parameter.POTENTIATION, Parameter.DEPRESSION)


def parameter_formats(config: ChipConfig) -> dict[Parameter, QFormat]:
    """Format of each parameter that this configuration has."""
    formats = config.formats
    known = {
        Parameter.WEIGHT: formats.weight,
        Parameter.POTENTIATION: formats.potentiation,
        Parameter.DEPRESSION: formats.depression,
    }
    if config.recalibration.enabled:
        known[Parameter.STATUS] = STATUS_FORMAT
        known |= {p: row_format(config, p.row) for p in Parameter if p.row is not None}
    return known


def word_width(config: ChipConfig) -> int:
    """Bits of a word at the access port: those of the widest parameter."""
    return max(fmt.width for fmt in parameter_formats(config).values())


def access_layout(config: ChipConfig, channels: int) -> data.StructLayout:
    """Layout of one access: ``channel``, ``parameter``, ``write``, and the raw ``word`` to write."""
    return data.StructLayout(
        {
            "channel": channel_shape(channels),
            "parameter": Parameter,
            "write": 1,
            "word": word_width(config),
        }
    )

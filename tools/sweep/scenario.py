"""What the sessions of a sweep are: trials and detection quality. Numbers depend on this module."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY, DetectionQuality, Protocol, Trial

__all__ = ["Scenario", "Strict"]


class Strict(BaseModel):
    """A table of the specification: frozen, without fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Real = Annotated[float, Field(strict=True)]


Trials = Annotated[int, Field(strict=True, ge=0, le=100_000)]


class Scenario(Strict):
    """``protocol``: trials and detection quality of each session; else those of the paper's figure 10.

    `masked`: a CR blanks the IO as the chip's own stimulation does.
    """

    paired: Trials = 120
    unpaired: Trials = 0
    cs_alone: Trials = 180
    pn_tdr: Real = PN_QUALITY.tdr
    pn_far_hz: Real = PN_QUALITY.far_hz
    io_tdr: Real = IO_QUALITY.tdr
    io_far_hz: Real = IO_QUALITY.far_hz
    isi_s: Real = Protocol.isi_s
    iti_s: tuple[Real, Real] = Protocol.iti_s
    io_drift_hz: tuple[Real, ...] = ()
    masked: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.training:
            raise ValueError("paired, unpaired: both 0, needs a trial to learn from")
        self.protocol()
        return self

    @property
    def training(self) -> int:
        """Trials with a US, which come first."""
        return self.paired + self.unpaired

    def protocol(self) -> Protocol:
        """As the golden model has it."""
        trials = (Trial.PAIRED,) * self.paired + (Trial.UNPAIRED,) * self.unpaired
        return Protocol(
            trials=trials + (Trial.CS_ALONE,) * self.cs_alone,
            pn=DetectionQuality(self.pn_tdr, self.pn_far_hz, PN_QUALITY.window_s),
            io=DetectionQuality(self.io_tdr, self.io_far_hz, IO_QUALITY.window_s),
            isi_s=self.isi_s,
            iti_s=self.iti_s,
            io_drift_hz=self.io_drift_hz,
        )

"""The recalibrating configuration of figures 14 and 16.

Source: Herreros et al. 2014, "Adaptive calibration of the model".
"""

from __future__ import annotations

from ...golden_model.calibration.calibration import coefficients
from ...golden_model.calibration.goals import Goals
from ...golden_model.config import ChipConfig
from ...golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY
from .setting import Setting
from .simulated import expected_events

__all__ = ["ASSUMED", "recalibrating"]

_GOALS = Goals()
ASSUMED: tuple[str, ...] = (
    "Coefficients of the recalibration: least squares with the expected counts of the training (PN "
    f"{PN_QUALITY.tdr:.1%}, {PN_QUALITY.far_hz:g} Hz; IO {IO_QUALITY.tdr:.1%}, {IO_QUALITY.far_hz:g} Hz; 120 "
    f"s), Δ = {_GOALS.delta_a:g} in {_GOALS.trials_a:g} trials both ways; the paper's are not in the text. "
    "Where the configuration has some, those.",
)


def recalibrating(setting: Setting) -> ChipConfig:
    """The configuration, recalibrating; δp and δd begin as at the rate of the training."""

    def make() -> ChipConfig:
        if setting.given.recalibration.enabled:
            return setting.given
        expected = expected_events(setting.config, PN_QUALITY, IO_QUALITY, _GOALS.noi_pass)
        rational = coefficients(expected, _GOALS)
        potentiation, depression = rational.plasticity(IO_QUALITY.far_hz)
        return setting.config.replace(
            plasticity={"potentiation": potentiation, "depression": depression},
            recalibration={
                "enabled": True, "alpha": rational.alpha, "beta": rational.beta, "gamma": rational.gamma,
            },
        )  # fmt: skip

    return setting.once("recalibrating", make)

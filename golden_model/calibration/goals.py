"""What a calibration is to reach. Loads nothing else, so that the command line has its defaults at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CalibrationError", "Goals"]

_LARGEST_GOAL = 1e6
"""Beyond, a number of trials or a cost is a slip."""


class CalibrationError(ValueError):
    """Training data that determine no plasticity; the message says what more to record."""


@dataclass(frozen=True)
class Goals:
    """What the plasticity shall do.

    Parameters
    ----------
    delta_a, delta_e : float
        Change of w that acquisition and extinction need: 0.5 to 0.3, and back.
    trials_a, trials_e : float
        Trials in which they shall be done.
    costs : (float, float, float)
        Weights of the squared residuals of acquisition, extinction and stability. The paper weights stability
        most, since it alone ensures that pairing lowers w and CS alone raises it.
    noi_pass : float
        σ̄: share of the IO detections that the inhibition lets through in extinction.

    Raises
    ------
    CalibrationError
        If a value is out of range.
    """

    delta_a: float = 0.2
    trials_a: float = 40.0
    delta_e: float = 0.2
    trials_e: float = 40.0
    costs: tuple[float, float, float] = (1.0, 1.0, 10.0)
    noi_pass: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("delta_a", 1e-6), ("trials_a", 1.0), ("delta_e", 1e-6), ("trials_e", 1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise CalibrationError(f"{name} = {value:g}: must be above 0")
            if not least <= value <= _LARGEST_GOAL:
                raise CalibrationError(f"{name} = {value:g}: limits are {least:g} and {_LARGEST_GOAL:g}")
        c1, c2, c3 = self.costs
        if not (all(0 < cost <= _LARGEST_GOAL for cost in self.costs) and c3 > c1 and c3 > c2):
            raise CalibrationError(
                f"costs = {c1:g}, {c2:g}, {c3:g}: must be above 0, and the third, of stability, the largest, "
                f"at most {_LARGEST_GOAL:g}"
            )
        if not 0 <= self.noi_pass <= 1:
            raise CalibrationError(f"noi_pass = {self.noi_pass:g}: a share, limits are 0 and 1")

    @property
    def changes(self) -> tuple[float, float]:
        """Wanted change of w a trial: (-Δa/Ta, +Δe/Te)."""
        return -self.delta_a / self.trials_a, self.delta_e / self.trials_e

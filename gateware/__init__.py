"""The chip in Amaranth HDL, bit for bit the fixed-point model of ``microzone.golden_model``."""

from .events import EventKind
from .microcircuit import Microcircuit
from .parameters import Parameter
from .rational import RationalEvaluator
from .recalibration import Recalibration
from .step_timer import StepTimer

__all__ = ["EventKind", "Microcircuit", "Parameter", "RationalEvaluator", "Recalibration", "StepTimer"]

"""The chip in Amaranth HDL, bit for bit the fixed-point model of ``microzone.golden_model``."""

from .amplifier import Amplifier
from .chip import Chip
from .detection import Detection
from .events import EventKind
from .microcircuit import Microcircuit
from .parameters import Parameter
from .rational import RationalEvaluator
from .recalibration import Recalibration
from .step_timer import StepTimer
from .stimulation import Stimulation

__all__ = [
    "Amplifier",
    "Chip",
    "Detection",
    "EventKind",
    "Microcircuit",
    "Parameter",
    "RationalEvaluator",
    "Recalibration",
    "StepTimer",
    "Stimulation",
]

"""The chip in Amaranth HDL, bit for bit the fixed-point model of ``microzone.golden_model``."""

from .amplifier.amplifier import Amplifier
from .chip import Chip
from .detection.detection import Detection
from .events import EventKind
from .microcircuit.microcircuit import Microcircuit
from .microcircuit.parameters import Parameter
from .microcircuit.rational import RationalEvaluator
from .microcircuit.recalibration import Recalibration
from .step_timer import StepTimer
from .stimulation.stimulation import Stimulation

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

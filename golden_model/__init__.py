"""What the chip computes, in floating point and in fixed point. Needs numpy and numba, no hardware tools."""

from .calibration import Goals, calibrate
from .chip import ChipFixed, ChipFloat
from .config import ChipConfig, ConfigError, PrecisionWarning
from .detection import DetectorFixed, DetectorFloat
from .engine import Course, Engine
from .events import Events, FileError, Result
from .fixed import SQ, UQ, Overflow, QFormat, Rounding, quantize, resize
from .microcircuit import MicrocircuitFixed, MicrocircuitFloat
from .plasticity_events import CalibrationError
from .preparation import Preparation, PreparationSettings
from .protocol import TRAINING, Protocol, Trial, score
from .recalibration import Coefficients, RecalibrationFixed, RecalibrationFloat
from .sessions import ProtocolDraw, Sessions, ShuffledIo, run_sessions
from .stimulation import Stimulator
from .thresholds import select_thresholds
from .training import TrainingRecording

__all__ = [
    "SQ",
    "TRAINING",
    "UQ",
    "CalibrationError",
    "ChipConfig",
    "ChipFixed",
    "ChipFloat",
    "Coefficients",
    "ConfigError",
    "Course",
    "DetectorFixed",
    "DetectorFloat",
    "Engine",
    "Events",
    "FileError",
    "Goals",
    "MicrocircuitFixed",
    "MicrocircuitFloat",
    "Overflow",
    "PrecisionWarning",
    "Preparation",
    "PreparationSettings",
    "Protocol",
    "ProtocolDraw",
    "QFormat",
    "RecalibrationFixed",
    "RecalibrationFloat",
    "Result",
    "Rounding",
    "Sessions",
    "ShuffledIo",
    "Stimulator",
    "TrainingRecording",
    "Trial",
    "calibrate",
    "quantize",
    "resize",
    "run_sessions",
    "score",
    "select_thresholds",
]

"""What the chip computes, in floating point and in fixed point. Needs numpy and numba, no hardware tools."""

from .calibrate.calibration import Goals, calibrate
from .calibrate.plasticity_events import CalibrationError
from .calibrate.thresholds import select_thresholds
from .chip import ChipFixed, ChipFloat
from .coefficients import Coefficients
from .config import ChipConfig, ConfigError, PrecisionWarning
from .detection import DetectorFixed, DetectorFloat
from .events import Events, Result
from .experiment.engine import Course, Engine
from .experiment.preparation import Preparation, PreparationSettings
from .experiment.protocol import TRAINING, Protocol, Trial, score
from .experiment.sessions import ProtocolDraw, Sessions, ShuffledIo, run_sessions
from .experiment.training import TrainingRecording
from .files import FileError
from .fixed import SQ, UQ, Overflow, QFormat, Rounding, quantize, resize
from .microcircuit import MicrocircuitFixed, MicrocircuitFloat
from .recalibration import RecalibrationFixed, RecalibrationFloat
from .stimulation import Stimulator

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

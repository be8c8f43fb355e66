"""What the chip computes, in floating point and in fixed point. Needs numpy and numba, no hardware tools."""

from .config import ChipConfig, ConfigError, PrecisionWarning
from .detection import DetectorFixed, DetectorFloat
from .events import Events, FileError, Result
from .fixed import SQ, UQ, Overflow, QFormat, Rounding, quantize, resize
from .microcircuit import MicrocircuitFixed, MicrocircuitFloat
from .protocol import Protocol, Trial, score

__all__ = [
    "SQ",
    "UQ",
    "ChipConfig",
    "ConfigError",
    "DetectorFixed",
    "DetectorFloat",
    "Events",
    "FileError",
    "MicrocircuitFixed",
    "MicrocircuitFloat",
    "Overflow",
    "PrecisionWarning",
    "Protocol",
    "QFormat",
    "Result",
    "Rounding",
    "Trial",
    "quantize",
    "resize",
    "score",
]

"""The default configuration with the recalibration that a synthetic training session gives it."""

from __future__ import annotations

from functools import cache

from ..config import ChipConfig
from ..experiment.protocol import TRAINING
from .calibration import calibrate

__all__ = ["calibrated_config"]


@cache
def calibrated_config() -> ChipConfig:
    """The default configuration with the recalibration of a synthetic training session."""
    config = ChipConfig.make()
    return calibrate(TRAINING.training(config, 1), config, training_sha256="0" * 64)

"""Calibration of a chip: thresholds, increments of plasticity and coefficients, from a training session."""

from ...facade import facade

__all__, __getattr__, __dir__ = facade(__name__)

"""The port of the event detection that is many signals: what it has made of a sample."""

from __future__ import annotations

from typing import Protocol

from amaranth.hdl import Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ...golden_model.detection_parameters import DetectionParameters
from ..events import channel_shape

__all__ = ["DetectionCommit", "detection_commit_shapes", "detection_commit_signature"]


def detection_commit_shapes(parameters: DetectionParameters) -> dict[str, Shape]:
    """Shape of every internal signal, by the names of ``golden_model.detection.SIGNALS``, and ``event``."""
    state = parameters.config.formats.detection_state.as_shape()
    return {
        "filtered": state,
        "mean": state,
        "variability": state,
        "threshold": parameters.threshold_format.as_shape(),
        "event": Shape(1),
    }


class DetectionCommit(Protocol):
    """The signals of :func:`detection_commit_signature`: one sample, in the cycle of `valid`."""

    valid: Signal
    electrode: Signal
    blanked: Signal
    filtered: Signal
    mean: Signal
    variability: Signal
    threshold: Signal
    event: Signal


def detection_commit_signature(parameters: DetectionParameters) -> wiring.Signature:
    """Signature of the port `commit`: ``valid``, ``electrode``, ``blanked``, and every internal signal."""
    members = {"valid": Out(1), "electrode": Out(channel_shape(parameters.electrodes)), "blanked": Out(1)}
    members |= {name: Out(shape) for name, shape in detection_commit_shapes(parameters).items()}
    return wiring.Signature(members)

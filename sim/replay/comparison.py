"""Equality of two step-by-step records, and the first place where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChipConfig
from ...golden_model.fixed import QFormat, to_real
from ...golden_model.microcircuit import SIGNALS

__all__ = ["RECALIBRATION", "describe_word", "first_difference", "first_recalibration"]

Signals = Mapping[str, npt.NDArray[Any]]


RECALIBRATION = ("step", "channel", "status", "rate", "potentiation", "depression")
"""What is recorded of a recalibration: names of ``golden_model.recalibration.Outcome``."""


def first_difference(expected: Signals, actual: Signals, config: ChipConfig) -> str | None:
    """The first step, and in it the first signal in the order of evaluation, that is not equal.

    Parameters
    ----------
    expected, actual : mapping of str to ndarray of int, shape (steps, channels)
        Raw words by the names of ``golden_model.microcircuit.SIGNALS``. Those in both are compared.
    config : ChipConfig
        Gives the formats for the message.

    Returns
    -------
    str or None
        Where and what, raw and real; None if all is equal.

    Raises
    ------
    ValueError
        If the two have no signal in common, or shapes differ.
    """
    names = [name for name in SIGNALS if name in expected and name in actual]
    if not names:
        raise ValueError("nothing to compare: no signal in common")
    first: tuple[int, int, int] | None = None
    for order, name in enumerate(names):
        if expected[name].shape != actual[name].shape:
            return f"{name}: expected {expected[name].shape} steps x channels, got {actual[name].shape}"
        steps, channels = np.nonzero(expected[name] != actual[name])
        if steps.size and (first is None or (int(steps[0]), int(channels[0]), order) < first):
            first = (int(steps[0]), int(channels[0]), order)
    if first is None:
        return None
    step, channel, order = first
    name = names[order]
    fmt = _formats(config).get(name)
    return (
        f"step {step}, channel {channel}: {name} (process {SIGNALS[name]}) "
        f"expected {describe_word(int(expected[name][step, channel]), fmt)}, "
        f"got {describe_word(int(actual[name][step, channel]), fmt)}"
    )


def first_recalibration(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> str | None:
    """The first recalibration that is not equal, raw words or real values; None if all are.

    Parameters
    ----------
    expected, actual : ndarray, shape (recalibrations, 6)
        In the columns of :data:`RECALIBRATION`.
    """
    for index, (want, got) in enumerate(zip(expected, actual, strict=False)):
        wrong = np.flatnonzero(want != got)
        if wrong.size:
            place = f"recalibration {index}, step {want[0]:.0f}, channel {want[1]:.0f}"
            words = f"expected {want[wrong[0]]:.12g}, got {got[wrong[0]]:.12g}"
            return f"{place}: {RECALIBRATION[wrong[0]]} {words}"
    if len(expected) != len(actual):
        return f"expected {len(expected)} recalibrations, got {len(actual)}"
    return None


def describe_word(raw: int, fmt: QFormat | None) -> str:
    """A raw word in hex and, where it has a format, as a real value."""
    return f"{raw:#x}" if fmt is None else f"{raw:#x} = {to_real(raw, fmt):.9g}"


def _formats(config: ChipConfig) -> dict[str, QFormat]:
    return {
        "trace": config.formats.trace,
        "weight": config.formats.weight,
        "scaled": config.scaled_format,
    }

"""A comparison of circuits as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ...golden_model.inference.circuits import HEALTHY
from ...golden_model.inference.comparison import TARGETS
from ..infer.parts import version
from .study import Comparison

__all__ = ["report"]


def report(comparison: Comparison) -> dict[str, Any]:
    """For JSON; a number that there is none of is null."""
    asked = comparison.asked
    space = asked.space(HEALTHY)
    numbers = {
        "version": version()[:12],
        "wanted": asked.wanted,
        "limits": dict(zip(space.names, zip(space.low, space.high, strict=True), strict=True)),
        "draws": asked.draws,
        "sessions": asked.sessions,
        "seed": asked.seed,
        "experiment": asked.experiment,
        "entropy_targets": TARGETS,
        "event_driven": {"checked": comparison.checked, "equal": comparison.equal},
        "circuits": {
            name: {
                "group": found.circuit.group,
                "text": found.circuit.text,
                **{
                    field_.name: getattr(found, field_.name)
                    for field_ in fields(found)
                    if field_.name not in ("circuit", "table")
                },
            }
            for name, found in comparison.found.items()
        },
    }
    return {key: _plain(value) for key, value in numbers.items()}


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and NaN as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field_.name: _plain(getattr(value, field_.name)) for field_ in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value

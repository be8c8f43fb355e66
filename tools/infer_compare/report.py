"""A comparison of circuits as plain numbers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...golden_model.inference.circuits import HEALTHY
from ...golden_model.inference.comparison import TARGETS
from ...golden_model.provenance import provenance
from ..infer.work import simulate_part
from ..report.origin import origin
from ..report.output import as_json
from .study import Comparison

__all__ = ["report"]


def report(comparison: Comparison) -> dict[str, Any]:
    """For JSON; a number that there is none of is null."""
    asked = comparison.asked
    space = asked.space(HEALTHY)
    numbers = {
        "origin": origin(dated=False),
        "version": provenance(simulate_part).key("")[:12],
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
    found: dict[str, Any] = as_json(numbers)
    return found

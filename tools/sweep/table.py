"""A row a point: what was set, behaviour of both models, how far apart, what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .behaviour import COURSE, MEASURES, Shift, paired_shift
from .spec import Point

__all__ = ["Row", "as_table"]

_COST = {"logic_cells": pa.int64(), "wrapper_bits": pa.int64(), "dsps": pa.int64(), "rams": pa.int64(),
         "fmax_hz": pa.float64()}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A point with its results.

    Attributes
    ----------
    point : Point
    sessions : int
        0 where the point is refused.
    shifts : mapping of str to Shift
        By the names of ``behaviour.MEASURES``, without those that no session has.
    course : mapping of str to float
        Means of ``behaviour.COURSE``, and ``sessions_differ``: the share of sessions with such a trial.
    cost : mapping
        Of the core, or why there is none as ``error``; empty where it was not synthesised.
    """

    point: Point
    sessions: int
    shifts: Mapping[str, Shift]
    course: Mapping[str, float]
    cost: Mapping[str, Any]

    @classmethod
    def of(cls, point: Point, columns: Mapping[str, npt.NDArray[Any]], cost: Mapping[str, Any] | None) -> Row:
        """From the columns of all its sessions; none where the point is refused."""
        if not columns:
            return cls(point, 0, {}, {}, cost or {})
        shifts = {name: paired_shift(columns[f"float_{name}"], columns[f"fixed_{name}"]) for name in MEASURES}
        course = {name: float(columns[name].mean()) for name in COURSE}
        course["sessions_differ"] = float(np.mean(columns["trials_differ"] > 0))
        found = {name: shift for name, shift in shifts.items() if shift is not None}
        return cls(point, columns["seed"].size, found, course, cost or {})

    @property
    def furthest(self) -> str | None:
        """The measure with the largest distance."""
        return max(self.shifts, key=lambda name: self.shifts[name].distance, default=None)

    @property
    def distance(self) -> float | None:
        """The largest distance of any measure, in Monte Carlo errors; None where refused."""
        return None if self.furthest is None else self.shifts[self.furthest].distance

    @property
    def within(self) -> bool:
        """Every measure is within the Monte Carlo error of float."""
        return self.distance is not None and self.distance <= 1

    @property
    def logic_cells(self) -> int | None:
        """Of the core, as ``make synth`` counts them; None where it was not synthesised."""
        return self.cost.get("logic_cells")

    def facts(self) -> dict[str, Any]:
        """One flat record."""
        facts: dict[str, Any] = {
            "experiment": self.point.experiment,
            "settings": json.dumps(dict(self.point.settings)),
            **{field: _plain(value) for field, value in self.point.settings.items()},
            "key": None if self.point.refused else self.point.key,
            "refused": self.point.refused or None,
            "warning": self.point.warning or None,
            "sessions": self.sessions,
            "distance": self.distance,
            "furthest": self.furthest,
            "within": self.within if self.sessions else None,
        }
        for name in MEASURES:
            shift = self.shifts.get(name)
            for column, attribute in (
                (f"float_{name}", "real"), (f"float_{name}_error", "real_error"),
                (f"fixed_{name}", "fixed"), (f"fixed_{name}_error", "fixed_error"),
                (f"shift_{name}", "shift"), (f"shift_{name}_error", "shift_error"),
                (f"distance_{name}", "distance"),
            ):  # fmt: skip
                facts[column] = getattr(shift, attribute) if shift else None
        facts |= {name: self.course.get(name) for name in (*COURSE, "sessions_differ")}
        facts |= {name: self.cost.get(name) for name in _COST}
        return facts | {"synthesis_error": self.cost.get("error")}


def _plain(value: Any) -> float | str:
    """A setting as a cell of a table."""
    return float(value) if isinstance(value, int | float) else value if isinstance(value, str) else str(value)


def as_table(rows: Sequence[Row]) -> pa.Table:
    """A row a point; a swept field has a column of its own, empty where it is not swept."""
    records = [row.facts() for row in rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    kinds: dict[str, Any] = dict(_COST)
    kinds |= dict.fromkeys(("key", "refused", "warning", "furthest", "synthesis_error"), pa.string())
    kinds |= {"within": pa.bool_(), "sessions": pa.int64(), "distance": pa.float64()}
    fields = []
    columns = []
    for name in names:
        column = [record.get(name) for record in records]
        texts = any(isinstance(value, str) for value in column)
        kind = kinds.get(name, pa.string() if texts else pa.float64())
        columns.append(pa.array([str(v) if texts and v is not None else v for v in column], kind))
        fields.append(pa.field(name, kind))
    return pa.table(columns, schema=pa.schema(fields))

"""The smallest formats that keep behaviour, the proposed ones with their margin, and the Pareto front."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ...golden_model.fixed import QFormat
from .spec import Experiment, Setting, Spec
from .table import Row

__all__ = ["Candidate", "Smallest", "conditions", "joined", "pareto_front", "smallest_formats", "widened"]


@dataclass(frozen=True)
class Smallest:
    """What one experiment over formats found.

    Attributes
    ----------
    experiment : str
    formats : mapping of str to str
        The smallest swept formats that keep behaviour under every condition, as all wider ones do.
    rows : tuple of Row
        Its points, one a condition.
    """

    experiment: str
    formats: Mapping[str, str]
    rows: tuple[Row, ...]

    def facts(self) -> dict[str, Any]:
        """For a report."""
        return {
            "formats": dict(self.formats),
            "distance": max(row.distance or 0.0 for row in self.rows),
            "trials_differ": max(row.course["trials_differ"] for row in self.rows),
            "sessions_differ": max(row.course["sessions_differ"] for row in self.rows),
            "logic_cells": self.rows[0].logic_cells,
        }


def smallest_formats(experiment: Experiment, rows: Sequence[Row]) -> Smallest | None:
    """The smallest formats of an experiment that keep behaviour within the Monte Carlo error of float.

    Parameters
    ----------
    experiment : Experiment
        With one axis of formats; its other axes are conditions, all of which have to hold.
    rows : sequence of Row
        Of all its points.

    Returns
    -------
    Smallest or None
        None where there are several axes of formats or none, or where no format holds. A format counts
        only if every wider one of the experiment holds too: a lucky rounding is not enough.
    """
    if sum(axis.is_format for axis in experiment.axis) != 1:
        return None
    ordered = sorted(rows, key=_width, reverse=True)
    found: Smallest | None = None
    for _, group in groupby(ordered, key=lambda row: json.dumps(row.point.formats)):
        conditions = tuple(group)
        if not all(row.within for row in conditions):
            break
        found = Smallest(experiment.name, conditions[0].point.formats, conditions)
    return found


def _width(row: Row) -> tuple[int, str]:
    """Bits of all swept formats; those of one width keep together."""
    formats = row.point.formats
    return sum(QFormat.parse(text).width for text in formats.values()), json.dumps(formats)


def widened(formats: Mapping[str, str], bits: int) -> dict[str, str]:
    """The formats with so many fraction bits more."""
    parsed = {name: QFormat.parse(text) for name, text in formats.items()}
    return {name: str(replace(fmt, fraction_bits=fmt.fraction_bits + bits)) for name, fmt in parsed.items()}


def joined(found: Sequence[Smallest], *, bits: int = 0) -> dict[str, str]:
    """The smallest formats of all experiments, so many bits wider; the widest where several swept one."""
    together: dict[str, str] = {}
    for one in found:
        for name, text in widened(one.formats, bits).items():
            if name not in together or QFormat.parse(text).width > QFormat.parse(together[name]).width:
                together[name] = text
    return together


def conditions(spec: Spec, found: Sequence[Smallest]) -> list[tuple[Experiment, dict[str, Setting]]]:
    """Everything that formats have to hold under together: each condition of each such experiment."""
    named = {experiment.name: experiment for experiment in spec.experiment}
    return [(named[one.experiment], row.point.condition) for one in found for row in one.rows]


@dataclass(frozen=True)
class Candidate:
    """A set of formats, tried under all conditions.

    Attributes
    ----------
    name : str
        ``smallest``, ``proposed`` or ``configured``.
    formats : mapping of str to str
        The formats that were swept.
    rows : tuple of Row
        A point a condition.
    """

    name: str
    formats: Mapping[str, str]
    rows: tuple[Row, ...]

    @property
    def within(self) -> bool:
        """Behaviour keeps within the Monte Carlo error of float under every condition."""
        return all(row.within for row in self.rows)

    @property
    def refused(self) -> str:
        """Why the formats do not go together; empty if they do."""
        return next((row.point.refused for row in self.rows if row.point.refused), "")

    @property
    def distance(self) -> float | None:
        """The largest under any condition; None if refused."""
        return None if self.refused else max(row.distance or 0.0 for row in self.rows)

    def worst(self, name: str) -> float | None:
        """The largest mean of one of ``Row.course``; None if refused."""
        return None if self.refused else max(row.course[name] for row in self.rows)

    def logic_cells(self, *, recalibrating: bool) -> int | None:
        """Of the core with or without recalibration; None where there is none."""
        for row in self.rows:
            config = row.point.config
            if config is not None and config.recalibration.enabled is recalibrating:
                return row.logic_cells
        return None

    def facts(self) -> dict[str, Any]:
        """For a report; JSON has no infinite distance."""
        return {
            "formats": dict(self.formats),
            "within": self.within,
            "refused": self.refused or None,
            "distance": self.distance if self.distance is not None and math.isfinite(self.distance) else None,
            "trials_differ": self.worst("trials_differ"),
            "sessions_differ": self.worst("sessions_differ"),
            "logic_cells": self.logic_cells(recalibrating=False),
            "logic_cells_recalibrating": self.logic_cells(recalibrating=True),
        }


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other beats: none has fewer logic cells and no larger a distance, or the reverse.

    Rows without cells or without a distance are left out; the fewest cells come first.
    """
    usable: list[tuple[int, float, Row]] = [
        (row.logic_cells, row.distance, row)
        for row in rows
        if row.logic_cells is not None and row.distance is not None
    ]
    front: list[Row] = []
    best: float | None = None
    for _, distance, row in sorted(usable, key=lambda item: item[:2]):
        if best is None or distance < best:
            front.append(row)
            best = distance
    return front

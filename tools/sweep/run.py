"""A sweep from beginning to end: what is missing is computed, then tables, pictures and the proposal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...gateware.toolchain import ToolError
from ...golden_model.config import ChipConfig
from ...golden_model.files import atomic_write
from ...golden_model.fixed import QFormat
from ..cluster import cluster
from ..report.origin import origin
from ..report.output import progress_bar, write_json
from .markdown import as_markdown
from .picture import draw_behaviour, draw_formats
from .proposal import Candidate, Smallest, conditions, joined, smallest_formats
from .spec import Point, Spec, with_settings
from .store import SPEC, Store, write_table
from .synthesis import Synthesis, synthesise, tool_versions
from .table import Row, as_table
from .work import parts, simulate

__all__ = ["files_of", "run_sweep"]


def files_of(spec: Spec) -> tuple[str, ...]:
    """What :func:`run_sweep` writes beside ``parts/`` and ``synthesis/``."""
    pictures = (f"{experiment.name}.png" for experiment in spec.experiment)
    return (SPEC, "sweep.parquet", "report.json", "report.md", "proposal.toml", "formats.png", *pictures)


def run_sweep(
    spec: Spec,
    base: ChipConfig,
    folder: Path,
    *,
    synthesis: bool = True,
    scheduler: str | None = None,
    workers: int | None = None,
    status: Console,
) -> tuple[list[Row], dict[str, Any]]:
    """Run what of a sweep is not in its folder yet, and write what it comes to.

    Parameters
    ----------
    spec : Spec
    base : ChipConfig
        What the points change.
    folder : Path
        Gets ``sweep.json`` (what was asked for, and what it is computed from), ``parts/`` and ``synthesis/``
        (what is finished, a file a piece), ``sweep.parquet`` (a row a point), ``report.json`` and
        ``report.md``, pictures, and ``proposal.toml`` where formats are proposed.
    synthesis : bool
        Synthesise the core of each distinct set of formats.
    scheduler, workers
        Of ``cluster``.
    status : rich.console.Console
        For progress, and for part-files that are damaged or of other sources.

    Returns
    -------
    (list of Row, dict)
        A row a point, those of the candidates last; the report.

    Raises
    ------
    FileError
        If the folder holds another sweep or cannot be written.
    ToolError
        If no core at all can be synthesised.
    UserError
        From ``cluster``.
    """
    points = spec.points(base)
    store = Store(folder, spec, base)
    _tell(status, folder, "sessions", store.outdated)
    if synthesis:
        versions = tool_versions() if scheduler is None else {}
        _tell(status, folder, "costs", store.expect_tools(versions))
    with ExitStack() as stack:
        pieces = _Pieces(store, range(spec.seed, spec.seed + spec.sessions), status, stack)
        pieces.where = (scheduler, workers)
        rows = pieces.rows(points, "sweep", synthesis)
        found = _smallest(spec, rows)
        candidates = _candidates(spec, base, found, pieces, synthesis) if found else []
    store.remove_outdated()
    report = _report(spec, rows, found, candidates)
    with atomic_write(folder / "report.md") as file:
        file.write(as_markdown(rows, report).encode())
    rows += [row for candidate in candidates for row in candidate.rows]
    write_table(folder / "sweep.parquet", as_table(rows))
    report["origin"] = origin(dated=False)
    write_json(folder / "report.json", report)
    proposed = next((each for each in candidates if each.name == "proposed"), None)
    if proposed is not None and proposed.within:
        with atomic_write(folder / "proposal.toml") as file:
            file.write(_proposal_toml(proposed, spec).encode())
    if found:
        draw_formats(spec, rows, candidates, folder / "formats.png")
    for experiment in spec.experiment:
        if not any(axis.is_format for axis in experiment.axis):
            draw_behaviour(experiment, rows, folder / f"{experiment.name}.png")
    return rows, report


class _Pieces:
    """Everything that workers compute, kept in the folder as it is finished."""

    where: tuple[str | None, int | None] = (None, None)

    def __init__(self, store: Store, seeds: range, status: Console, stack: ExitStack) -> None:
        self._store, self._seeds, self._status, self._stack = store, seeds, status, stack
        self._run: Any = None

    def rows(self, points: Sequence[Point], label: str, synthesis: bool) -> list[Row]:
        """A row a point, in their order."""
        columns = self._sessions(points, label)
        costs = self._costs(points) if synthesis else {}
        rows = []
        for point in points:
            if point.config is None:
                rows.append(Row.of(point, {}, None))
            else:
                rows.append(Row.of(point, columns[point.key], costs.get(Synthesis(point.config).key)))
        return rows

    def _map(self, function: Any, chunks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Of the workers, which start when there is work for them."""
        if chunks and self._run is None:
            self._run = self._stack.enter_context(cluster(*self.where))
        return iter(self._run.map(function, chunks)) if chunks else iter(())

    def _sessions(self, points: Sequence[Point], label: str) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of all sessions of each point, by its key."""
        wanted = parts(points, self._seeds)
        finished: dict[str, dict[int, Mapping[str, npt.NDArray[Any]]]] = {part.key: {} for part in wanted}
        missing = []
        for part in wanted:
            columns, damage = self._store.load(part)
            if damage:
                self._status.print(f"{damage}: computed anew", highlight=False)
            if columns is None:
                missing.append(part)
            else:
                finished[part.key][part.seeds[0]] = columns
        each = len(wanted) // max(len(finished), 1)
        with progress_bar(label, len(finished), self._status, unit="points") as advance:
            advance(_whole(finished.values(), each))
            for index, columns in self._map(simulate, missing):
                part = missing[index]
                self._store.save(part, columns)
                finished[part.key][part.seeds[0]] = columns
                advance(_whole(finished.values(), each))
        return {
            key: {
                name: np.concatenate([of[first][name] for first in sorted(of)])
                for name in next(iter(of.values()))
            }
            for key, of in finished.items()
        }

    def _costs(self, points: Sequence[Point]) -> dict[str, Mapping[str, Any]]:
        """Cost of each distinct core, by its key."""
        jobs: dict[str, Synthesis] = {}
        for point in points:
            if point.config is not None:
                job = Synthesis(point.config)
                jobs.setdefault(job.key, job)
        costs: dict[str, Mapping[str, Any]] = {}
        for key, job in jobs.items():
            if (known := self._store.cost(job)) is not None:
                costs[key] = known
        missing = [job for key, job in jobs.items() if key not in costs]
        with progress_bar("synthesis", len(jobs), self._status, unit="cores") as advance:
            advance(len(costs))
            for index, cost in self._map(synthesise, missing):
                job = missing[index]
                costs[job.key] = cost
                if "error" not in cost:  # what failed may work another time, with other tools
                    self._store.save_cost(job, cost)
                advance(len(costs))
        errors = [cost["error"] for cost in costs.values() if "error" in cost]
        if errors and len(errors) == len(jobs):
            raise ToolError(errors[0])
        return costs


def _tell(status: Console, folder: Path, kind: str, outdated: str) -> None:
    if outdated:
        status.print(f"{folder}: {kind} computed with {outdated}: computed anew", highlight=False)


def _whole(finished: Iterable[Mapping[int, Any]], each: int) -> int:
    return sum(len(of_a_point) == each for of_a_point in finished)


def _smallest(spec: Spec, rows: Sequence[Row]) -> list[Smallest]:
    found = (
        smallest_formats(each, [row for row in rows if row.point.experiment == each.name])
        for each in spec.experiment
    )
    return [one for one in found if one is not None]


def _candidates(
    spec: Spec, base: ChipConfig, found: Sequence[Smallest], pieces: _Pieces, synthesis: bool
) -> list[Candidate]:
    """The smallest formats together, those with the margin, and those of the configuration."""
    smallest = joined(found)
    configured = {name: str(getattr(base.formats, name)) for name in smallest}
    sets = {"smallest": smallest, "proposed": joined(found, bits=spec.margin_bits), "configured": configured}
    points = [
        with_settings(
            experiment.model_copy(update={"name": name}),
            base,
            condition | {f"formats.{field}": text for field, text in formats.items()},
        )
        for name, formats in sets.items()
        for experiment, condition in conditions(spec, found)
    ]
    rows = pieces.rows(points, "together", synthesis)
    return [
        Candidate(name, formats, tuple(row for row in rows if row.point.experiment == name))
        for name, formats in sets.items()
    ]


def _report(
    spec: Spec, rows: Sequence[Row], found: Sequence[Smallest], candidates: Sequence[Candidate]
) -> dict[str, Any]:
    failed = {error for row in rows if (error := row.cost.get("error"))}
    return {
        "points": len(rows),
        "refused": sum(bool(row.point.refused) for row in rows),
        "sessions": spec.sessions,
        "seed": spec.seed,
        "margin_bits": spec.margin_bits,
        "not_synthesised": sorted(failed),
        "smallest": {one.experiment: one.facts() for one in found},
        "together": {each.name: each.facts() for each in candidates},
        "configured_margin_bits": _margins(candidates),
    }


def _margins(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Bits that each format of the configuration has more than the smallest one."""
    formats = {each.name: each.formats for each in candidates}
    return {
        name: QFormat.parse(text).width - QFormat.parse(formats["smallest"][name]).width
        for name, text in formats.get("configured", {}).items()
    }


def _proposal_toml(proposed: Candidate, spec: Spec) -> str:
    lines = [
        f"# The smallest formats with behaviour within the Monte Carlo error of {spec.sessions} sessions",
        f"# and {spec.margin_bits} bits more.",
        "[formats]",
    ]
    return "\n".join([*lines, *(f'{name} = "{text}"' for name, text in proposed.formats.items())]) + "\n"

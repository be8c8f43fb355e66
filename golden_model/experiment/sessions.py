"""Thousands of sessions: drawn by seed, run by the engine, scored trial by trial.

What session a seed gives depends on nothing else, so that results are the same for any number of workers, and
each session can be drawn again and looked at on its own (``Protocol.events``, ``microzone run``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..events import Events, Steps
from .engine import Engine, EngineModel
from .protocol import BLOCK, Protocol, score_trials

__all__ = ["ProtocolDraw", "Sessions", "ShuffledIo", "run_sessions"]

_CHUNK = 64
"""Sessions that a worker takes at a time."""

Draw = Callable[[int], Events]
"""Draws the session of a seed; all sessions have as many trials."""


@dataclass(frozen=True)
class ProtocolDraw:
    """Sessions of a protocol: ``protocol.events(config, seed)``."""

    protocol: Protocol
    config: ChipConfig

    def __call__(self, seed: int) -> Events:
        """The session of a seed."""
        return self.protocol.events(self.config, seed)


@dataclass(frozen=True)
class ShuffledIo:
    """One session whose IO detections come anywhere within their trial, as many in each as before.

    A trial lasts from its CS to the next. Source: Herreros et al. 2014, figure 15: what is left of
    association when the time between CS and US is random.
    """

    events: Events

    def __call__(self, seed: int) -> Events:
        """The session of a seed."""
        rng = np.random.default_rng(seed)
        events = self.events
        edges = np.concatenate([[0], events.cs, [events.n_steps]])
        trial = np.searchsorted(edges, events.io, side="right") - 1
        first, length = edges[trial], np.diff(edges)[trial]
        steps = first + np.floor(rng.random(events.io.size) * length).astype(np.int64)
        order = np.argsort(steps, kind="stable")
        while (twice := order[1:][np.diff(steps[order]) == 0]).size:
            steps[twice] = first[twice] + np.floor(rng.random(twice.size) * length[twice]).astype(np.int64)
            order = np.argsort(steps, kind="stable")
        return replace(events, io=steps[order])


@dataclass(frozen=True)
class Sessions:
    """What many sessions of n trials came to.

    Attributes
    ----------
    seeds : ndarray of int64, shape (sessions,)
    well_timed, late : ndarray of bool, shape (sessions, n)
    latency_s : ndarray of float64, same shape
        CS to the first CR of the trial; NaN where there is none.
    weight : ndarray of float64, same shape
        w at each CS. These four as ``protocol.Score`` has them.
    weight_end : ndarray of float64, shape (sessions,)
        w after the last step.
    crs : ndarray of int64, same shape
        CRs of the session, those between trials too.
    """

    seeds: Steps
    well_timed: npt.NDArray[np.bool_]
    late: npt.NDArray[np.bool_]
    latency_s: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    weight_end: npt.NDArray[np.float64]
    crs: Steps

    @classmethod
    def join(cls, parts: Sequence[Sessions]) -> Sessions:
        """One of several, at least one, of sessions of as many trials."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @property
    def responded(self) -> npt.NDArray[np.bool_]:
        """Trials with any CR, shape (sessions, n)."""
        return self.well_timed | self.late

    @property
    def mean_weight(self) -> npt.NDArray[np.float64]:
        """Mean w of all sessions at each CS, shape (n,)."""
        return np.asarray(self.weight.mean(axis=0))

    @staticmethod
    def first(trials: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """First true trial of each session, from 1; NaN where there is none. Shape (sessions,)."""
        return np.where(trials.any(axis=1), trials.argmax(axis=1) + 1.0, np.nan)

    @staticmethod
    def last(trials: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Last true trial of each session, from 1; NaN where there is none. Shape (sessions,)."""
        return np.asarray(trials.shape[1] + 1 - Sessions.first(trials[:, ::-1]))

    @staticmethod
    def blocks(trials: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Share of true trials of all sessions in each block of ten; the last block may be shorter."""
        share = trials.mean(axis=0)
        starts = np.arange(0, share.size, BLOCK)
        return np.asarray(np.add.reduceat(share, starts) / np.diff(np.append(starts, share.size)))


def run_sessions(
    draw: Draw,
    config: ChipConfig,
    seeds: Sequence[int] | npt.NDArray[np.int64],
    *,
    model: EngineModel = "fixed",
    masked: bool = False,
    isi_s: float = 0.3,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Sessions:
    """Draw, run and score a session a seed.

    Parameters
    ----------
    draw : callable
        Gives the session of a seed: :class:`ProtocolDraw`, :class:`ShuffledIo` or a function of your own.
    config : ChipConfig
        Of the microcircuit.
    seeds : sequence of int
        At least one.
    model : {"float", "fixed"}
    masked : bool
        A CR blanks the IO as the chip's stimulation does: see ``engine``.
    isi_s : float
        When the US is due after the CS.
    workers : int, optional
        Processes, for which `draw` must be picklable; else one a processor. 1, or few sessions, stay in this
        one.
    progress : callable
        Told the number of sessions done.

    Returns
    -------
    Sessions
        In the order of `seeds`, for any number of workers.

    Raises
    ------
    ValueError
        If there is no seed, or sessions differ in their number of trials.
    """
    numbers = [int(seed) for seed in seeds]
    if not numbers:
        raise ValueError("seeds: at least one")
    chunks = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]
    work = partial(_run_chunk, draw, config, model, masked, isi_s)
    parts: list[Sessions] = []
    done = 0
    with _mapping(min(workers or len(os.sched_getaffinity(0)), len(chunks))) as mapped:
        for part in mapped(work, chunks):
            parts.append(part)
            done += part.seeds.size
            progress(done)
    _check_trials({part.weight.shape[1] for part in parts})
    return Sessions.join(parts)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator[Sessions]]]:
    """``map``, in this process or in several; what they have not begun is dropped if the block fails."""
    if workers == 1:
        yield map
        return
    # Forked, they need no guard in the caller's script, and no second to import; Ctrl-C is for the caller.
    with ProcessPoolExecutor(
        workers, get_context("fork"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _check_trials(found: set[int]) -> None:
    if len(found) > 1:
        raise ValueError(f"sessions of {' and '.join(map(str, sorted(found)))} trials: must have as many")


def _run_chunk(
    draw: Draw, config: ChipConfig, model: EngineModel, masked: bool, isi_s: float, seeds: list[int]
) -> Sessions:
    engine: Engine[Any] = Engine(config, model, masked=masked)
    rows = list(_rows(draw, engine, seeds, isi_s))
    _check_trials({row[0].size for row in rows})
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Sessions(np.array(seeds, np.int64), *columns)


def _rows(draw: Draw, engine: Engine[Any], seeds: list[int], isi_s: float) -> Iterator[tuple[Any, ...]]:
    for seed in seeds:
        events = draw(seed)
        course = engine.run(events)
        weight = course.weight(np.append(events.cs, events.n_steps - 1))
        trials = score_trials(course.cr, weight[:-1], events, engine.config, isi_s=isi_s)
        yield trials.well_timed, trials.late, trials.latency_s, trials.weight, weight[-1], course.cr.size

"""A task of CFPC on float, fixed point and gateware, and how these compare."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.filter import AdaptiveFilter, AdaptiveFilterFloat, Course, Trial, rms, run_trials
from ...golden_model.cfpc.fixed_filter import AdaptiveFilterFixed, Steps
from ...golden_model.cfpc.systems import Reals
from ...golden_model.cfpc.words import Raw
from ...golden_model.fixed import quantize
from ...sim.replay.comparison import describe_word
from ..report.output import progress_bar, working
from .task import Task

__all__ = [
    "Connect",
    "Difference",
    "DivergenceError",
    "Run",
    "deviation",
    "first_difference",
    "run_model",
    "run_on",
    "trial_apart",
]

Connect = Callable[[CfpcConfig], AbstractContextManager[AdaptiveFilter]]
"""Gives the filter on a board, built with this configuration and reset."""

_FAR = 1e6
"""Times the error of the reactive loop: what is beyond has diverged."""


class DivergenceError(ArithmeticError):
    """The error of a trial is beyond all measure; the message says in which."""


@dataclass(frozen=True, eq=False)
class Run:
    """Trials of a task on one model.

    Attributes
    ----------
    model : str
    course : Course
    errors : list of ndarray, shape (steps,)
        e of each trial, as the filter had it.
    raw : ndarray of int64, shape (trials + 1, G), or None
        Raw weights before the first trial and after each; of fixed point and gateware.
    saturated : int
        Steps in which e or o was at a limit of its format.
    steps : Steps or None
        Raw words of every step; of the gateware.
    """

    model: str
    course: Course
    errors: list[Reals]
    raw: Raw | None
    saturated: int
    steps: Steps | None = None


def run_model(
    model: str,
    adaptive: AdaptiveFilter,
    task: Task,
    trials: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Run:
    """Close the loop of a task around a filter.

    Raises
    ------
    DivergenceError
        If the error grows beyond a million times that of the reactive loop.
    """
    errors: list[Reals] = []
    signal, saturated = task.config.formats.signal, 0

    def keep(trial: Trial) -> None:
        nonlocal saturated
        errors.append(trial.error)
        if not rms(task.reference - trial.y) <= _FAR * task.reactive_rmse:
            raise DivergenceError(
                f"{model}, trial {len(errors)}: diverged, the error is more than {_FAR:,.0f} times that of "
                "the reactive loop"
            )
        if model != "float":
            at_limit = [(s >= signal.max) | (s <= signal.min) for s in (trial.error, trial.o)]
            saturated += int(np.count_nonzero(at_limit[0] | at_limit[1]))

    with np.errstate(all="ignore"):  # what overflows is found above
        course = run_trials(
            adaptive, task.config, trials,
            reference=task.reference, inputs=task.inputs, progress=progress, keep=keep,
        )  # fmt: skip
    weight = task.config.formats.weight
    raw = None if model == "float" else np.asarray(quantize(course.weights, weight), np.int64)
    return Run(model, course, errors, raw, saturated)


def deviation(run: Run, reference: Run) -> tuple[float, int]:
    """Largest deviation of a trial's RMSE from another run's, as a share of it; and its trial, from 1."""
    apart = np.abs(run.course.rmse / reference.course.rmse - 1)
    return float(apart.max()), int(apart.argmax()) + 1


@dataclass(frozen=True)
class Difference:
    """Where the gateware first differs from the fixed-point model.

    Attributes
    ----------
    signal : str
        h, o or w.
    trial, step : int
        From 1, and from 0 in the trial.
    synapse : int or None
        From 0; o has none.
    expected, got : str
        Raw and real.
    """

    signal: str
    trial: int
    step: int
    synapse: int | None
    expected: str
    got: str

    def describe(self) -> str:
        """In a line."""
        synapse = "" if self.synapse is None else f", synapse {self.synapse}"
        return (
            f"trial {self.trial}, step {self.step}{synapse}: {self.signal} expected {self.expected}, "
            f"got {self.got}"
        )


def first_difference(task: Task, fixed: Run, rtl: Run) -> Difference | None:
    """The first step, and in it the first of h, o and w, in which gateware and fixed-point model differ.

    Parameters
    ----------
    task : Task
    fixed : Run
        Whose errors the model is given again, step by step.
    rtl : Run
        With the raw words of every step.

    Raises
    ------
    ValueError
        If the two have not the same number of steps.
    """
    steps = rtl.steps
    model, formats = AdaptiveFilterFixed(task.config), task.config.formats
    inputs, length = model.quantised(task.inputs), task.reference.size
    total = length * len(fixed.errors)
    if steps is None or len(steps.o) != total:
        raise ValueError(f"{0 if steps is None else len(steps.o)} steps of the gateware, needs {total}")
    for trial, errors in enumerate(fixed.errors):
        expected = model.process(np.asarray(quantize(errors, formats.signal), np.int64), inputs)
        part = slice(trial * length, (trial + 1) * length)
        pairs = (
            ("h", expected.traces, steps.traces[part], formats.signal),
            ("o", expected.o[:, None], steps.o[part, None], formats.signal),
            ("w", expected.weights, steps.weights[part], formats.weight),
        )
        wrong = [(np.argwhere(want != got), order) for order, (_, want, got, _) in enumerate(pairs)]
        found = [(int(places[0][0]), order, int(places[0][1])) for places, order in wrong if len(places)]
        if found:
            step, order, synapse = min(found)
            signal, want, got, fmt = pairs[order]
            return Difference(
                signal, trial + 1, step, None if signal == "o" else synapse,
                describe_word(int(want[step, synapse]), fmt), describe_word(int(got[step, synapse]), fmt),
            )  # fmt: skip
    return None


def trial_apart(fixed: Run, board: Run) -> int | None:
    """The first trial, from 1, in which the board's e of a step or w at the end is not the model's."""
    assert fixed.raw is not None and board.raw is not None
    for trial, (want, got) in enumerate(zip(fixed.errors, board.errors, strict=True), start=1):
        if not np.array_equal(want, got) or not np.array_equal(fixed.raw[trial], board.raw[trial]):
            return trial
    return None


def run_on(
    model: str,
    task: Task,
    trials: int,
    console: Console,
    label: str = "",
    connect: Connect | None = None,
) -> Run:
    """Trials of a task on float, fixed, rtl or board; a progress bar begins with `label`.

    Parameters
    ----------
    connect : callable, optional
        Gives the board, reset, while it is needed.

    Raises
    ------
    DivergenceError
        See :func:`run_model`.
    ConfigError
        If fixed point cannot hold the task.
    """
    with ExitStack() as stack:
        if model == "rtl":
            from ...sim.loop.cfpc_loop import AdaptiveFilterRtl

            with working("verilator: building the simulation (once for each configuration)", console):
                gateware = stack.enter_context(AdaptiveFilterRtl(task.config, record=True))
        elif model == "board":
            assert connect is not None
            hardware = stack.enter_context(connect(task.config))
        else:
            software = {"float": AdaptiveFilterFloat, "fixed": AdaptiveFilterFixed}[model](task.config)
        advance = stack.enter_context(progress_bar(f"{label}{model}", trials, console, unit="trials"))
        if model == "rtl":
            return replace(run_model(model, gateware, task, trials, advance), steps=gateware.steps)
        return run_model(model, hardware if model == "board" else software, task, trials, advance)

"""The configuration of a counterfactual predictive control (CFPC): task, loop, bases, learning, formats."""

from __future__ import annotations

import itertools
import math
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import signal

from ..fixed import SQ, Rounding
from ..sections import Config, Format, Real, Section, check_magnitudes
from .loop import Loop
from .reduction import low_order
from .systems import Discretisation, Reals, StateSpace, discrete, leaks, proportional_integral

__all__ = ["CfpcConfig", "Trace"]

Seconds = Annotated[float, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0)]
Point = tuple[Seconds, Real]


_MOST_DELAY = 1000
"""Steps of feedback delay, or of an impulse response: with more it takes seconds to tell what is stable."""
_MOST_ORDER = 32
"""Coefficients of a polynomial, or leaks: floating point cannot tell the roots of more."""


class Time(Section):
    """``[time]``: the step of the model, and the clock of the gateware."""

    step_s: Positive = 0.001
    clock_hz: Positive = 12e6


class Task(Section):
    """``[task]``: a trial, repeated; its reference r goes through points (seconds, value), straight."""

    name: str = "pursuit"
    trial_s: Positive = 2.5
    reference: tuple[Point, ...] = Field(
        default=((0.5, 0.0), (1.0, 1.0), (1.5, 1.0), (2.0, 0.0)), min_length=1, max_length=10_000
    )


class Plant(Section):
    """``[plant]``: what is controlled; one of leaky integrators, transfer function, impulse response.

    ``numerator`` and ``denominator`` are polynomials in s, highest power first; ``impulse_response`` is one
    number a step.
    """

    leaks_s: tuple[Positive, ...] | None = Field(default=None, max_length=_MOST_ORDER)
    gain: Real = 1.0
    numerator: tuple[Real, ...] | None = Field(default=None, max_length=_MOST_ORDER)
    denominator: tuple[Real, ...] | None = Field(default=None, max_length=_MOST_ORDER)
    impulse_response: tuple[Real, ...] | None = Field(default=None, max_length=_MOST_DELAY)
    method: Discretisation = "euler"


class Controller(Section):
    """``[controller]``: the reactive one, proportional and integral (1/s), and the delay of its feedback."""

    proportional: Real = 20.0
    integral: Real = 100.0
    delay_s: Seconds = 0.05


class Bases(Section):
    """``[bases]``: Gaussians in time since the start of the trial, or any others given to ``run_trials``.

    `shifted`: all are delayed copies of the first, so that one input and one forward model do for all.
    `amplitude`: of a Gaussian, and what no other basis may exceed.
    """

    amplitude: Positive = 1.0
    count: Annotated[int, Field(strict=True, ge=1, le=4096)] = 20
    width_s: Positive = 0.05
    spacing_s: Positive = 0.1
    first_s: Seconds = 0.2
    shifted: Annotated[bool, Field(strict=True)] = True


class Trace(StrEnum):
    """What a synapse's eligibility trace makes of its basis.

    The closed loop's response (FM-ET); that of a delay and one or two leaks; or the basis some time ago,
    which for a delay of 0 is the rule of Widrow and Hoff (WH).
    """

    FORWARD_MODEL = "forward-model"
    LOW_ORDER = "low-order"
    DELAY = "delay"


class Eligibility(Section):
    """``[eligibility]``: the trace. A low-order one that is not given is fitted to the loop."""

    trace: Trace = Trace.FORWARD_MODEL
    delay_s: Seconds | None = None
    leaks_s: tuple[Positive, ...] | None = Field(default=None, min_length=1, max_length=2)


class Learning(Section):
    """``[learning]``: η on-line, a power of two, and batch."""

    rate: Positive = 2.0**-8
    batch_rate: Positive = 0.005


class Formats(Section):
    """``[formats]``: the words of the fixed-point model and the gateware, and how w is rounded.

    ``signal``: error e, basis x, trace h, output o. ``state``: of the forward model, each in its own unit.
    """

    signal: Format = SQ(2, 16)
    state: Format = SQ(1, 17)
    weight: Format = SQ(2, 22)
    coefficient: Format = SQ(3, 21)
    weight_rounding: Rounding = Rounding.HALF_UP


_PURSUIT_PLANT = Plant(leaks_s=(0.1, 0.003), gain=0.1)
_BLINK = {
    "task": {
        "name": "blink",
        "trial_s": 1.0,
        "reference": ((0.3, 0.0), (0.34, 1.0), (0.4, 1.0), (0.6, 0.0)),
    },
    "plant": {"leaks_s": (0.03, 0.01)},
    "controller": {"proportional": 0.5, "integral": 5.0, "delay_s": 0.02},
    "bases": {"count": 20, "width_s": 0.02, "spacing_s": 0.03, "first_s": 0.1},
    "learning": {"rate": 2.0**-5, "batch_rate": 0.03},
    "formats": {"signal": SQ(3, 15)},
}


class CfpcConfig(Config):
    """Everything about a CFPC system in physical units; the default is the smooth pursuit of the source.

    Raises
    ------
    ConfigError
        From :meth:`make`, :meth:`from_toml` and :meth:`load`: one line naming field, value and limit.

    Source: Herreros et al. 2016 (NIPS), 3.4; the centre of the first basis is not in it.
    """

    of = "CFPC"
    time: Time = Time()
    task: Task = Task()
    plant: Plant = _PURSUIT_PLANT
    controller: Controller = Controller()
    bases: Bases = Bases()
    eligibility: Eligibility = Eligibility()
    learning: Learning = Learning()
    formats: Formats = Formats()

    @classmethod
    def blink(cls) -> Self:
        """The eye-blink as a task of CFPC: the reference is the air puff's demand for closed eyelids.

        The conditioned stimulus begins with the trial. The paper gives the scheme (2.1, figure 2) and no
        number: these are of the order of a rabbit's eyelid and reflex.
        """
        return cls.make(**_BLINK)

    @classmethod
    def over(cls, given: dict[str, Any], base: Self) -> dict[str, Any]:
        """As any configuration; but another kind of plant, and a trace, come without those of the base."""
        sections = super().over(given, base)
        for name, kinds in _KINDS.items():
            fields = given.get(name)
            if not isinstance(fields, dict):
                continue
            had = {kind for kind in kinds if getattr(getattr(base, name), kind) is not None}
            wanted = kinds & fields.keys()
            if wanted - had or "trace" in fields:
                sections[name] = fields
        return sections

    def steps(self, seconds: float) -> int:
        """A duration in steps, rounded."""
        return round(seconds / self.time.step_s)

    @property
    def trial_steps(self) -> int:
        """N."""
        return self.steps(self.task.trial_s)

    @property
    def spacing_steps(self) -> int:
        """From one basis to the next."""
        return self.steps(self.bases.spacing_s)

    @property
    def delay_steps(self) -> int:
        """Of the feedback."""
        return self.steps(self.controller.delay_s)

    @cached_property
    def traces(self) -> Reals:
        """H, shape (N, G): the eligibility trace of each synapse in a trial from rest."""
        return self.eligibility_model.respond(self.basis_matrix)

    @property
    def rate_shift(self) -> int:
        """R with η = 2^-R."""
        return -round(math.log2(self.learning.rate))

    # --- what the sections describe ------------------------------------------------------------

    @cached_property
    def reference(self) -> Reals:
        """The reference r of a trial, shape (N,)."""
        at = np.arange(self.trial_steps) * self.time.step_s
        times, values = zip(*self.task.reference, strict=True)
        return np.asarray(np.interp(at, times, values), np.float64)

    @cached_property
    def basis_inputs(self) -> Reals:
        """What is streamed in a trial, shape (N, 1) where the bases are shifted, else (N, G)."""
        at = np.arange(self.trial_steps) * self.time.step_s
        count = 1 if self.bases.shifted else self.bases.count
        centres = self.bases.first_s + self.bases.spacing_s * np.arange(count)
        away = (at[:, None] - centres) / self.bases.width_s
        return np.asarray(self.bases.amplitude * np.exp(-0.5 * away**2))

    @cached_property
    def basis_matrix(self) -> Reals:
        """X, shape (N, G)."""
        return self.spread(self.basis_inputs)

    def spread(self, inputs: Reals) -> Reals:
        """X of what is streamed in a trial: where the bases are shifted, each a spacing after the last.

        Parameters
        ----------
        inputs : ndarray, shape (steps, 1) where the bases are shifted, else (steps, G)
        """
        if not self.bases.shifted:
            return inputs
        steps = len(inputs)
        whole = np.zeros((steps, self.bases.count))
        for j in range(self.bases.count):
            late = min(j * self.spacing_steps, steps)
            whole[late:, j] = inputs[: steps - late, 0]
        return whole

    @cached_property
    def plant_system(self) -> StateSpace:
        """Of ``[plant]``."""
        plant, step = self.plant, self.time.step_s
        if plant.leaks_s is not None:
            return leaks(plant.leaks_s, plant.gain, step)
        if plant.impulse_response is not None:
            return discrete(plant.gain * np.array(plant.impulse_response), step)
        assert plant.numerator is not None and plant.denominator is not None
        numerator = plant.gain * np.array(plant.numerator)
        return discrete(signal.TransferFunction(numerator, plant.denominator), step, plant.method)

    def loop_of(self, plant: StateSpace) -> Loop:
        """The closed loop of the configured controller and delay around any plant."""
        controller = proportional_integral(
            self.controller.proportional, self.controller.integral, self.time.step_s
        )
        return Loop(plant.after(controller), self.delay_steps)

    @cached_property
    def loop(self) -> Loop:
        """The closed loop of plant, controller and delay."""
        return self.loop_of(self.plant_system)

    @cached_property
    def eligibility_model(self) -> Loop:
        """What turns a basis into its eligibility trace."""
        eligibility = self.eligibility
        if eligibility.trace is Trace.FORWARD_MODEL:
            return self.loop
        if eligibility.trace is Trace.DELAY:
            through = StateSpace(np.zeros((0, 0)), np.zeros(0), np.zeros(0), 1.0)
            return Loop(through, self.steps(eligibility.delay_s or 0.0), feedback=False)
        if eligibility.leaks_s is not None:
            assert eligibility.delay_s is not None
            chain = leaks(eligibility.leaks_s, 1.0, self.time.step_s)
            return Loop(chain, self.steps(eligibility.delay_s), feedback=False)
        return low_order(self.loop, self.trial_steps)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_magnitudes(self)
        _check_times(self)
        _check_plant(self)
        _check_eligibility(self)
        if not math.log2(self.learning.rate).is_integer() or not -16 <= self.rate_shift <= 32:
            nearest = 2.0 ** -min(max(self.rate_shift, -16), 32)
            raise ValueError(
                f"learning.rate = {self.learning.rate:g}: a power of two from 2^-32 to 2^16, such as "
                f"{nearest:g}"
            )
        if self.formats.weight_rounding is Rounding.HALF_EVEN:
            raise ValueError("formats.weight_rounding = 'half-even': choose from half-up, floor")
        for name in ("signal", "state", "weight", "coefficient"):
            fmt = getattr(self.formats, name)
            if not fmt.signed or fmt.width > WIDEST:
                raise ValueError(f"formats.{name} = {fmt}: needs a signed format of at most {WIDEST} bits")
        return self


_KINDS = {
    "plant": {"leaks_s", "numerator", "denominator", "impulse_response"},
    "eligibility": {"delay_s", "leaks_s"},
}
"""Fields of which only some go together."""
WIDEST = 32
"""Bits of a word: two multiplied, and a sum of 4096 of these, in 64 bits."""
_MOST_STEPS = 1_000_000
_MOST_ENTRIES = 1 << 24
"""Steps of a trial times bases: a matrix of them has 128 MiB."""


def _check_times(config: CfpcConfig) -> None:
    if not 1 <= config.trial_steps <= _MOST_STEPS:
        raise ValueError(
            f"task.trial_s = {config.task.trial_s:g}: 1 to {_MOST_STEPS} steps of {config.time.step_s:g} s"
        )
    if config.trial_steps * config.bases.count > _MOST_ENTRIES:
        raise ValueError(
            f"task.trial_s, bases.count: {config.trial_steps} steps times {config.bases.count} bases, "
            f"limit is {_MOST_ENTRIES}"
        )
    if config.delay_steps > _MOST_DELAY:
        raise ValueError(
            f"controller.delay_s = {config.controller.delay_s:g}: {config.delay_steps} steps of "
            f"{config.time.step_s:g} s, at most {_MOST_DELAY}"
        )
    times = [at for at, _ in config.task.reference]
    if any(after <= before for before, after in itertools.pairwise(times)):
        raise ValueError(f"task.reference: its times {times} do not ascend")
    if config.bases.shifted and config.spacing_steps < 1:
        raise ValueError(
            f"bases.spacing_s = {config.bases.spacing_s:g}: at least a step of {config.time.step_s:g} s"
        )


def _check_plant(config: CfpcConfig) -> None:
    plant = config.plant
    function = plant.numerator is not None or plant.denominator is not None
    if function and (plant.numerator is None or plant.denominator is None):
        raise ValueError("plant: a transfer function has a numerator and a denominator")
    kinds = [plant.leaks_s is not None, function, plant.impulse_response is not None]
    if sum(kinds) != 1:
        raise ValueError("plant: give one of leaks_s, numerator with denominator, impulse_response")
    if plant.leaks_s is not None and (not plant.leaks_s or min(plant.leaks_s) <= config.time.step_s / 2):
        raise ValueError(
            f"plant.leaks_s = {list(plant.leaks_s)}: each longer than half a step of {config.time.step_s:g} s"
        )
    try:
        radius = config.loop.spectral_radius()
    except ValueError as error:
        raise ValueError(f"plant: {error}") from None
    if radius >= 1:
        raise ValueError(
            f"controller: the loop is unstable by itself (spectral radius {radius:.4f}, needs less than 1)"
        )


def _check_eligibility(config: CfpcConfig) -> None:
    eligibility = config.eligibility
    if eligibility.trace is Trace.FORWARD_MODEL and (
        eligibility.delay_s is not None or eligibility.leaks_s is not None
    ):
        raise ValueError("eligibility: a forward model has the delay and the leaks of the loop")
    if eligibility.trace is Trace.DELAY and eligibility.leaks_s is not None:
        raise ValueError("eligibility.leaks_s: a delay has none, choose trace = 'low-order'")
    if eligibility.trace is Trace.LOW_ORDER and (eligibility.delay_s is None) != (
        eligibility.leaks_s is None
    ):
        raise ValueError("eligibility: give both delay_s and leaks_s of a low-order trace, or neither")
    if eligibility.leaks_s is not None and min(eligibility.leaks_s) <= config.time.step_s / 2:
        raise ValueError(f"eligibility.leaks_s = {list(eligibility.leaks_s)}: each longer than half a step")

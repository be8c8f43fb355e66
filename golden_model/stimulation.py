"""Stimulation: the pulse trains that conditioned responses start, and the blanking level.

All in clock cycles. A trigger in cycle T starts a train whose first output edge is in cycle s = T + 2;
pulse i of N begins at ``s_i = s + i·period``::

    cathodic  on in [s_i, s_i + width)
    anodic    on in [s_i + width + gap, s_i + 2·width + gap)      biphasic only
    enable    on in [s, e), e the end of the last phase
    blanked   FIXED: in [s, s + blank_fixed)
              PULSE: in [max(s_i - guard_before, s), end of pulse i + guard_after), for every i

A trigger is accepted from cycle ``e - 1 + rest`` on, so that at least `rest` cycles without output lie
between trains; an earlier one is ignored. Blanking windows are joined where they overlap.

Source: Herreros et al. 2014, "Signal processing" (a CR triggers a train, the IO is masked for 2 s after it);
the limits are ours. The arithmetic is on integers and in closed form: its cost grows with the trains, not
with the silence between them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from .config import BlankingMode, ChipConfig, ConfigError, PulseShape

__all__ = [
    "LATENCY",
    "LONGEST_BLANK_S",
    "LONGEST_GUARD_S",
    "Edge",
    "StimulationTiming",
    "Stimulator",
    "TrainSettings",
]

LATENCY = 2
"""Clock cycles from a trigger to the first output edge of its train."""
CLOCK_STEPS = 3
"""Steps without a step tick after which the step clock counts as dead."""
LONGEST_BLANK_S = 10.0
LONGEST_GUARD_S = 0.1
"""What the registers of the blanking can hold at least; longer settings are refused."""

Cycles = npt.NDArray[np.int64]
Edge = tuple[int, str, int]
"""Cycle, output, and the level that the output has from this cycle on."""


@dataclass(frozen=True)
class TrainSettings:
    """What the registers of the stimulation say, in clock cycles; :class:`StimulationTiming` checks them.

    Parameters
    ----------
    period : int
        From pulse start to pulse start.
    width, width_anodic : int
        Of the cathodic and the anodic phase.
    gap : int
        Between the two phases.
    pulses : int
        Of a train.
    shape : PulseShape
    blank_mode : BlankingMode
    blank_fixed : int
        From the train's start.
    guard_before, guard_after : int
        Around each pulse.
    """

    period: int
    width: int
    width_anodic: int
    gap: int
    pulses: int
    shape: PulseShape
    blank_mode: BlankingMode
    blank_fixed: int
    guard_before: int
    guard_after: int

    @property
    def pulse(self) -> int:
        """From a pulse's start to the end of its last phase."""
        return (
            self.width if self.shape is PulseShape.MONOPHASIC else self.width + self.gap + self.width_anodic
        )

    @property
    def duration(self) -> int:
        """From the train's first edge to its last."""
        return (self.pulses - 1) * self.period + self.pulse


_FIELDS = {
    "period": "stimulation.rate_hz",
    "width": "stimulation.width_s",
    "gap": "stimulation.interphase_s",
    "pulses": "stimulation.duration_s",
    "blank_fixed": "blanking.fixed_s",
    "guard_before": "blanking.guard_before_s",
    "guard_after": "blanking.guard_after_s",
}


class StimulationTiming:
    """The integers of the stimulation: the configured settings and the limits, in clock cycles.

    Every duration is rounded to the nearest cycle, the limits too.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    settings : TrainSettings
        As configured: what the registers hold after reset.
    width_limit : int
        Cycles that a phase may be on.
    period_limit : int
        Least cycles from pulse start to pulse start. A pulse, with both phases, is shorter.
    duration_limit : int
        Cycles of a train, from its first edge to its last.
    pulses_limit : int
        Pulses that fit into it at the least period.
    rest : int
        Least cycles without output between trains.
    watchdog : int
        Cycles without a heartbeat after which the host counts as dead.
    tick_timeout : int
        Cycles without a step tick after which the step clock counts as dead.
    duty_limit : float
        The largest share of time that one phase can be on in the long run: trains of ``duration_limit``
        with pulses of ``width_limit``, each ``period_limit``, and ``rest``.

    Raises
    ------
    ConfigError
        If a duration is less than a cycle, or a setting beyond its limit; the message names field, value
        and limit.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        section, limits, blanking = config.stimulation, config.stimulation.limits, config.blanking
        clock = config.time.clock_hz

        def cycles(field: str, seconds: float, shown: float, least: int = 1) -> int:
            rounded = round(seconds * clock)
            if rounded < least:
                raise ConfigError(
                    f"{field} = {shown:g}: {seconds * clock:.3g} cycles of time.clock_hz = {clock:g}, "
                    f"limit is {least}"
                )
            return rounded

        def seconds(field: str, value: float, least: int = 1) -> int:
            return cycles(field, value, value, least)

        self.width_limit = seconds("stimulation.limits.width_s", limits.width_s)
        self.period_limit = cycles("stimulation.limits.rate_hz", 1 / limits.rate_hz, limits.rate_hz)
        self.duration_limit = seconds("stimulation.limits.duration_s", limits.duration_s)
        self.rest = seconds("stimulation.limits.rest_s", limits.rest_s)
        self.watchdog = seconds("stimulation.watchdog_s", section.watchdog_s)
        self.tick_timeout = seconds("time.step_s", config.time.step_s) * CLOCK_STEPS
        self.pulses_limit = -(-self.duration_limit // self.period_limit)
        self.blank_limit = round(LONGEST_BLANK_S * clock)
        self.guard_limit = max(round(LONGEST_GUARD_S * clock), 1)
        width = seconds("stimulation.width_s", section.width_s)
        pulses = round(section.rate_hz * section.duration_s)
        if pulses < 1:
            raise ConfigError(
                f"stimulation.duration_s = {section.duration_s:g}: {pulses} pulses of "
                f"{section.rate_hz:g} Hz, "
                "limit is 1"
            )
        self.settings = TrainSettings(
            period=cycles("stimulation.rate_hz", 1 / section.rate_hz, section.rate_hz),
            width=width,
            width_anodic=width,
            gap=seconds("stimulation.interphase_s", section.interphase_s, 0),
            pulses=pulses,
            shape=section.shape,
            blank_mode=blanking.mode,
            blank_fixed=seconds("blanking.fixed_s", blanking.fixed_s),
            guard_before=seconds("blanking.guard_before_s", blanking.guard_before_s, 0),
            guard_after=seconds("blanking.guard_after_s", blanking.guard_after_s, 0),
        )
        if self.rest < self.period_limit:
            raise ConfigError(
                f"stimulation.limits.rest_s = {limits.rest_s:g}: limit is {1 / limits.rate_hz:g}, the least "
                "period (stimulation.limits.rate_hz)"
            )
        for complaint in self._complaints(self.settings):
            raise ConfigError(complaint)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Every duration in clock cycles, by the name of its field."""
        yield "stimulation.limits.width_s", self.width_limit
        yield "stimulation.limits.rate_hz", self.period_limit
        yield "stimulation.limits.duration_s", self.duration_limit
        yield "stimulation.limits.rest_s", self.rest
        yield "stimulation.watchdog_s", self.watchdog
        yield "time.step_s", self.tick_timeout
        for name, field in _FIELDS.items():
            if name != "pulses":
                yield field, getattr(self.settings, name)

    @property
    def duty_limit(self) -> float:
        pulses = self.pulses_limit
        least = (pulses - 1) * self.period_limit + min(self.width_limit, self.period_limit) + self.rest
        return pulses * self.width_limit / least

    def refusal(self, settings: TrainSettings) -> str | None:
        """Why no train is made with such settings, as one line; None where one is."""
        return next(self._complaints(settings), None)

    def _complaints(self, settings: TrainSettings) -> Iterator[str]:
        clock = self.config.time.clock_hz

        def limit(name: str, value: int, limit: int, why: str) -> str:
            return f"{_FIELDS[name]}: {value} cycles ({value / clock:g} s), limit is {limit} ({why})"

        biphasic = settings.shape is PulseShape.BIPHASIC
        if not 1 <= settings.width <= self.width_limit:
            yield limit("width", settings.width, self.width_limit, "stimulation.limits.width_s")
        if biphasic and settings.width != settings.width_anodic:
            yield (
                f"width_anodic = {settings.width_anodic} cycles: not balanced, must be width = "
                f"{settings.width}"
            )
        if not settings.pulse < self.period_limit:
            name = "gap" if biphasic else "width"
            yield limit(name, settings.pulse, self.period_limit - 1, "a pulse, below the least period")
        if not settings.period >= self.period_limit:
            yield limit("period", settings.period, self.period_limit, "stimulation.limits.rate_hz")
        if not settings.period <= self.duration_limit:
            yield limit("period", settings.period, self.duration_limit, "stimulation.limits.duration_s")
        if settings.pulses < 1 or settings.duration > self.duration_limit:
            yield limit("pulses", settings.duration, self.duration_limit, "stimulation.limits.duration_s")
        for name, most in (
            ("blank_fixed", self.blank_limit),
            ("guard_before", self.guard_limit),
            ("guard_after", self.guard_limit),
        ):
            if getattr(settings, name) > most:
                yield limit(name, getattr(settings, name), most, "what the register is made for")


@dataclass(frozen=True)
class _Train:
    """A train as it was delivered: from `stop` on no output, from `seen` on no blanking."""

    settings: TrainSettings
    start: int
    stop: int
    seen: int | None = None

    @property
    def starts(self) -> Cycles:
        """Of the pulses that began."""
        every = self.start + self.settings.period * np.arange(self.settings.pulses, dtype=np.int64)
        return every[every < self.stop]

    def phases(self) -> dict[str, tuple[Cycles, Cycles]]:
        """Starts and ends of each output's phases."""
        settings, starts = self.settings, self.starts
        anodic = starts + settings.width + settings.gap
        if settings.shape is PulseShape.MONOPHASIC:
            anodic = anodic[:0]
        anodic = anodic[anodic < self.stop]
        return {
            "cathodic": (starts, np.minimum(starts + settings.width, self.stop)),
            "anodic": (anodic, np.minimum(anodic + settings.width, self.stop)),
            "enable": (starts[:1], np.full(starts[:1].size, self.stop)),
        }

    def blanked(self) -> tuple[Cycles, Cycles]:
        """Starts and ends of the blanking windows, the starts ascending."""
        starts, ends = self._windows()
        return starts, ends if self.seen is None else np.minimum(ends, self.seen)

    def _windows(self) -> tuple[Cycles, Cycles]:
        settings, nothing = self.settings, np.zeros(0, np.int64)
        if settings.blank_mode is BlankingMode.NONE:
            return nothing, nothing
        if settings.blank_mode is BlankingMode.FIXED:
            return np.array([self.start]), np.array([self.start + settings.blank_fixed])
        starts = self.start + settings.period * np.arange(settings.pulses, dtype=np.int64)
        first = np.maximum(starts - settings.guard_before, self.start)
        # A pulse that was still to come when the train was cut short has its guard until then.
        last = np.where(
            starts < self.stop,
            np.minimum(starts + settings.pulse, self.stop) + settings.guard_after,
            self.stop,
        )
        return first[first < self.stop], last[first < self.stop]


class Stimulator:
    """The stimulation as the gateware does it, cycle by cycle; armed from the start.

    Cycles are any integers, given in ascending order.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    timing : StimulationTiming
    settings : TrainSettings
        Of the trains to come; those that :meth:`StimulationTiming.refusal` refuses disarm at the next
        trigger. armed : bool
        Settable. A trigger while not armed is ignored.

    Raises
    ------
    ConfigError
        See :class:`StimulationTiming`.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.timing = StimulationTiming(config)
        self.settings = self.timing.settings
        self.armed = True
        self._trains: list[_Train] = []
        self._starts: list[int] = []
        self._blanked_until: list[int] = []
        self._ready: int | None = None

    def trigger(self, cycle: int) -> bool:
        """Trigger in `cycle`; whether it starts a train."""
        if not self.armed or (self._ready is not None and cycle < self._ready):
            return False
        if self.timing.refusal(self.settings) is not None:
            self.armed = False
            return False
        start = cycle + LATENCY
        self._append(_Train(self.settings, start, start + self.settings.duration))
        return True

    def stop(self, cycle: int, *, at_once: bool = False) -> None:
        """A disarm, or the cause of a fault, in `cycle`: what is on goes off in the next, and is not armed.

        `at_once`, in this cycle already: an emergency stop.
        """
        self.armed = False
        if not self._trains:
            return
        train = self._trains[-1]
        end = min(train.stop, cycle if at_once else cycle + 1)
        if end == train.stop:
            return
        self._forget()
        if train.start > cycle:
            return
        if end > train.start:
            self._append(replace(train, stop=end))
        # Though an emergency stop keeps this cycle's output off, the rest is counted from it.
        self._ready = self._last_on(train, cycle) + self.timing.rest

    def reset(self, cycle: int) -> None:
        """A reset in `cycle`: outputs at rest at once, not armed, settings as configured, no blanking.

        The rest after a train is kept.
        """
        self.stop(cycle, at_once=True)
        self.settings = self.timing.settings
        for number in range(bisect_right(self._blanked_until, cycle + 1), len(self._trains)):
            self._trains[number] = replace(self._trains[number], seen=cycle + 1)
            self._blanked_until[number] = cycle + 1

    def _last_on(self, train: _Train, cycle: int) -> int:
        """Last cycle up to `cycle` with a phase on, were it not for the stop."""
        phases = replace(train, stop=cycle + 1).phases()
        return int(np.concatenate([phases["cathodic"][1], phases["anodic"][1]]).max()) - 1

    def _append(self, train: _Train) -> None:
        self._before = self._ready
        self._trains.append(train)
        self._starts.append(train.start)
        until = int(max(train.blanked()[1], default=train.start))
        self._blanked_until.append(max([until, *self._blanked_until[-1:]]))
        self._ready = train.stop - 1 + self.timing.rest

    def _forget(self) -> None:
        for kept in (self._trains, self._starts, self._blanked_until):
            kept.pop()
        self._ready = self._before

    @property
    def trains(self) -> int:
        """Trains delivered so far."""
        return len(self._trains)

    @property
    def edges(self) -> list[Edge]:
        """Every edge of ``cathodic``, ``anodic`` and ``enable``, those to come of the last train too."""
        found = [
            (int(cycle), name, level)
            for train in self._trains
            for name, bounds in train.phases().items()
            for level, cycles in ((1, bounds[0]), (0, bounds[1]))
            for cycle in cycles
        ]
        return sorted(found)

    def on_cycles(self, first: int, windows: int, width: int) -> Cycles:
        """Cycles with an output on, in consecutive windows.

        Parameters
        ----------
        first : int
            Cycle with which the first window begins.
        windows : int
            How many.
        width : int
            Cycles of a window.

        Returns
        -------
        ndarray of int64, shape (windows, 2)
            Cathodic and anodic.
        """
        counts = np.zeros((windows, 2), np.int64)
        for train in self._during(first, first + windows * width):
            low = max((train.start - first) // width, 0)
            high = min((train.stop - 1 - first) // width + 1, windows)
            edges = first + width * np.arange(low, high + 1, dtype=np.int64)
            for column, name in enumerate(("cathodic", "anodic")):
                begin, end = train.phases()[name]
                before = np.clip(edges[:, None] - begin, 0, end - begin).sum(axis=1)
                counts[low:high, column] += np.diff(before)
        return counts

    def train_at(self, cycle: int) -> bool:
        """Whether a train is in progress in `cycle`."""
        return bool(self._during(cycle, cycle + 1))

    def _during(self, first: int, stop: int) -> list[_Train]:
        """Trains with output in cycles [first, stop)."""
        low, high = bisect_right(self._starts, first), bisect_left(self._starts, stop)
        return [train for train in self._trains[max(low - 1, 0) : high] if train.stop > first]

    @property
    def ready(self) -> int | None:
        """The first cycle in which a trigger is accepted after the last train; None before the first."""
        return self._ready

    def blanked_windows(self) -> tuple[Cycles, Cycles]:
        """Starts and ends of the last train's blanking windows; none before the first."""
        nothing = np.zeros(0, np.int64)
        return self._trains[-1].blanked() if self._trains else (nothing, nothing)

    @overload
    def blanked_at(self, cycle: int) -> bool: ...
    @overload
    def blanked_at(self, cycle: Cycles) -> npt.NDArray[np.bool_]: ...
    def blanked_at(self, cycle: int | Cycles) -> bool | npt.NDArray[np.bool_]:
        """Blanking level in one cycle, or in an array of cycles of any shape and order."""
        cycles = np.asarray(cycle, np.int64)
        blanked = np.zeros(cycles.shape, np.bool_)
        if cycles.size:
            high = bisect_right(self._starts, int(cycles.max()))
            low = bisect_right(self._blanked_until, int(cycles.min()), hi=high)
            for train in self._trains[low:high]:
                starts, ends = train.blanked()
                if starts.size:
                    at = np.searchsorted(starts, cycles, side="right") - 1
                    latest = np.maximum.accumulate(ends)
                    blanked |= (at >= 0) & (cycles < latest[np.maximum(at, 0)])
        return bool(blanked) if isinstance(cycle, (int, np.integer)) else blanked

"""``microzone host monitor``: a chip at work, live in the terminal."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...gateware.link.frames import Record, RecordKind
from ...golden_model.config import ChipConfig
from ...golden_model.fixed import to_real
from .chip import Host, LinkError
from .parameters import raw_word
from .recording import BLANKED, CR, IO, PN, State, StepCount
from .session import EVERYTHING
from .stopping import Stop, stop_on_signals

__all__ = ["Monitor", "run_monitor"]

_REFRESH_S = 0.25
_POLL_S = 0.02
_WINDOW_S = 10.0
"""Over which rates are taken."""
_HISTORY = 48
"""Columns of a w's course."""
_BARS = "▁▂▃▄▅▆▇█"
_EVENTS = {"PN": PN, "IO": IO, "CR": CR}


class _Circuit:
    """What is known of a microcircuit: w, its course, its last events."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.course: deque[int] = deque([word], maxlen=_HISTORY)
        self.events: dict[str, deque[int]] = {name: deque() for name in _EVENTS}
        self.status: int | None = None


class Monitor:
    """What the records say, as it stands.

    Parameters
    ----------
    host : Host
    config : ChipConfig
        Gives the formats.

    Attributes
    ----------
    steps : int
        Made by the chip so far.
    state : State or None
        As last told.
    lost : int
        Records that the chip says it had no room for.
    unfitting : int
        Records of a microcircuit that there is not.
    ended_by : Stop
        What has ended it, if it was a signal.
    """

    def __init__(self, host: Host, config: ChipConfig) -> None:
        self.host, self.config = host, config
        self.ended_by = Stop()
        self.begin()

    def begin(self) -> None:
        """Ask the chip what it has, and for all that happens from now on; LinkError if it does not answer."""
        host = self.host
        host.report()
        host.poll(0.0)
        host.forget_records()
        words = host.weights().words["weight"]
        self._circuits = [_Circuit(word) for word in words]
        self._blanked_since: int | None = None
        self._blanked = 0
        self.state: State | None = None
        self.lost = self.detections = self.unfitting = 0
        host.report(*EVERYTHING)
        self.steps = self._start = host.read("control.STEPS")
        self._count = StepCount(self.steps)
        self.trouble: str | None = None

    @property
    def weights(self) -> list[float]:
        """W of each microcircuit."""
        return [float(to_real(one.word, self.config.formats.weight)) for one in self._circuits]

    def take(self, records: list[Record]) -> None:
        """Note what has come."""
        for record in records:
            self.steps = max(self.steps, self._count.of(record))
            if record.kind in (RecordKind.STEP, RecordKind.RECALIBRATION) and not self._is_of_one(record):
                self.unfitting += 1
            elif record.kind is RecordKind.STEP:
                circuit = self._circuits[record.index]
                circuit.word = raw_word(record.data, self.config.formats.weight)
                for name, flag in _EVENTS.items():
                    if record.flags & flag and not (flag == IO and record.flags & BLANKED):
                        circuit.events[name].append(self._count.steps)
            elif record.kind is RecordKind.STATE:
                self.state = State.of(record)
            elif record.kind is RecordKind.BLANKING:
                self._note_blanking(bool(record.flags & 1))
            elif record.kind is RecordKind.RECALIBRATION:
                self._circuits[record.index].status = record.flags
            elif record.kind is RecordKind.LOST:
                self.lost += record.data
            elif record.kind is RecordKind.DETECTION:
                self.detections += 1

    def _is_of_one(self, record: Record) -> bool:
        """Whether a record is of a microcircuit that there is."""
        return record.index < len(self._circuits)

    def _note_blanking(self, on: bool) -> None:
        now = self._count.steps
        if self._blanked_since is not None:
            self._blanked += now - self._blanked_since
        self._blanked_since = now if on else None

    def note_time(self) -> None:
        """Once a refresh: how many steps there are, and a column of each w's course."""
        self.steps = self._count.steps = self.host.read("control.STEPS")
        oldest = self.steps - self.config.steps(_WINDOW_S)
        for circuit in self._circuits:
            circuit.course.append(circuit.word)
            for events in circuit.events.values():
                while events and events[0] <= oldest:
                    events.popleft()

    def rate_hz(self, circuit: int, event: str) -> float:
        """How often an event of a microcircuit came in the last seconds."""
        seconds = min(_WINDOW_S, (self.steps - self._start) * self.config.time.step_s)
        return len(self._circuits[circuit].events[event]) / seconds if seconds > 0 else 0.0

    @property
    def blanked_share(self) -> float:
        """Share of the steps that were blanked since the monitor began."""
        steps = self.steps - self._start
        open_since = self._blanked_since
        blanked = self._blanked + (self.steps - open_since if open_since is not None else 0)
        return blanked / steps if steps else 0.0

    def render(self) -> RenderableType:
        """The table."""
        state, host = self.state, self.host
        seconds = self.steps * self.config.time.step_s
        lamps = Text()
        for name in ("running", "armed", "train"):
            on = state is not None and getattr(state, name)
            lamps.append(f" {name} ", style="bold black on green" if on else "dim")
            lamps.append(" ")
        fault = self.trouble or ", ".join(state.faults if state else [])
        lamps.append(fault or "no fault", style="bold red" if fault else "green")
        totals = (
            f"step {self.steps:,} ({seconds:.1f} s)   detections {self.detections}   blanked "
            f"{100 * self.blanked_share:.1f} %   lost in the chip {self.lost}, on the wire {host.missing}   "
            f"bad frames {host.bad_frames}, requests repeated {host.repeated}"
        )
        if unread := self.unfitting + host.unknown:
            totals += f", records that mean nothing {unread}"
        table = Table("", "w", "its course", *(f"{name}/s" for name in _EVENTS), box=None)
        for number, circuit in enumerate(self._circuits):
            table.add_row(
                f"microcircuit {number}",
                f"{self.weights[number]:.6f}",
                _sparkline(list(circuit.course)),
                *(f"{self.rate_hz(number, name):.2f}" for name in _EVENTS),
            )
        return Group(lamps, Text(totals), table)


def _sparkline(values: list[int]) -> str:
    """A course in one line, from its least to its largest value."""
    low, high = min(values), max(values)
    places = np.rint([(len(_BARS) - 1) * (value - low) / max(high - low, 1) for value in values])
    return "".join(_BARS[int(place)] for place in places)


def run_monitor(
    host: Host, config: ChipConfig, console: Console, *, arm: bool = False, seconds: float | None = None
) -> Monitor:
    """Show a chip at work until Ctrl-C, SIGTERM or SIGHUP, or for some seconds; then disarm it.

    The front end is enabled where it was not, and then disabled at the end. If the device goes, it is waited
    for; the chip's watchdog disarms it meanwhile, and nothing here arms it again.

    Parameters
    ----------
    host : Host
    config : ChipConfig
    console : rich.console.Console
    arm : bool
        Arm the stimulation, and send heartbeats.
    seconds : float, optional
        Of the chip's time.

    Returns
    -------
    Monitor
        As it was at the end.

    Raises
    ------
    LinkError
        If the chip does not come up, or does not arm.
    """
    with stop_on_signals() as stop:
        monitor = Monitor(host, config)
        monitor.ended_by = stop
        enabled = bool(host.read_fields("control.CONTROL")["enable"])
        transport = host.transport
        end = None if seconds is None else transport.now() + seconds
        try:
            host.enable()
            if arm:
                host.arm()
            with Live(console=console, auto_refresh=False) as live:
                due = transport.now()
                while stop.signal is None and (end is None or transport.now() < end):
                    try:
                        if monitor.trouble:
                            monitor.begin()
                        monitor.take(host.poll(_POLL_S))
                        if transport.now() >= due:
                            due = transport.now() + _REFRESH_S
                            monitor.note_time()
                            live.update(monitor.render(), refresh=True)
                    except LinkError as error:
                        host.stand_down()
                        monitor.trouble = str(error)
                        live.update(monitor.render(), refresh=True)
                        time.sleep(_REFRESH_S)
        except KeyboardInterrupt:
            pass
        finally:
            with suppress(LinkError):
                host.disarm()
                if not enabled:
                    host.enable(False)
                host.report()
    return monitor

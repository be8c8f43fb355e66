"""A chip in software, at the other end of a bad cable: bytes in, bytes out, as the link and the register file say.

Written from the description of the link, not from the host: what a request does is stated here again.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from microzone.gateware.amplifier.amplifier import AmplifierFault
from microzone.gateware.link.frames import Decoder, Record, RecordKind, encode
from microzone.gateware.microcircuit.parameters import PLASTIC, Parameter, parameter_formats
from microzone.gateware.registers.file import CAPACITY
from microzone.gateware.registers.map import register_map
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.gateware.stimulation.registers import settings_words
from microzone.golden_model.chip import electrode_settings
from microzone.golden_model.config import ChipConfig
from microzone.golden_model.detection_parameters import DetectionParameters, DetectionRow
from microzone.golden_model.fixed import QFormat
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.golden_model.recalibration import Row, coefficient_words
from microzone.golden_model.stimulation import StimulationTiming
from microzone.tools.host.chip import Host, LinkError

OK, BAD_OPERATION, BAD_LENGTH, BAD_ADDRESS, FULL = range(5)
READ, WRITE = 1, 2
SET_UP_S = 0.01
_PARAMETERS = ("circuits", "electrodes", "stimulation")
CONFIG = ChipConfig.make(weight={"initial": 0.28})
RECALIBRATED = ChipConfig.make(
    weight={"initial": 0.28},
    recalibration={
        "enabled": True,
        "period_s": 4.0,
        "rate_max_hz": 20.0,
        "alpha": (1.0, 0.5, 0.1),
        "beta": (4e4, 1e3, 10.0),
        "gamma": (800.0, 10.0),
    },
)
TWO = ChipConfig.make(
    amplifier={"channels": 4}, electrodes={"pn": (0, 1), "io": (2, 3)}, weight={"initial": 0.28}
)
OTHER = {
    "plasticity": {"potentiation": 5e-5, "depression": 0.02},
    "detection": {"pn": {"threshold": 3.0}, "io": {"threshold": 900.0, "relative": False}},
    "stimulation": {"rate_hz": 100.0, "shape": "monophasic"},
    "blanking": {"mode": "fixed", "fixed_s": 0.5},
}


@dataclass
class Cable:
    """What goes wrong on the way, in either direction; probabilities a frame.

    Attributes
    ----------
    drop, corrupt, truncate, duplicate, delay : float
    delay_s : float
        Of a delayed frame, and of all behind it.
    latency_s : float
        Of any other.
    plugged : bool
    fail_after : int or None
        Bytes from the host until the cable is pulled.
    """

    drop: float = 0.0
    corrupt: float = 0.0
    truncate: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.07
    latency_s: float = 1e-4
    plugged: bool = True
    fail_after: int | None = None


@dataclass
class Session:
    """What the microcircuits are told: shape (steps, circuits), (steps,) for `blanked`; then nothing."""

    pn: np.ndarray
    io: np.ndarray
    blanked: np.ndarray


@dataclass
class FakeDevice:
    """A ``microzone.tools.host.chip.Transport``."""

    config: ChipConfig = field(default_factory=ChipConfig.make)
    cable: Cable = field(default_factory=Cable)
    session: Session | None = None
    seed: int = 1
    capacity: int = CAPACITY
    protocol: int = 1

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.map = register_map(self.config)
        self.time = 0.0
        self.closed = False
        self.power_up()

    def power_up(self) -> None:
        """As after reset; time goes on."""
        config = self.config
        self.circuits = MicrocircuitFixed(config, len(config.electrodes.pn))
        self.words = self._configured()
        self.shadow: list[tuple[str, int]] = []
        self.level_high = self.level_latch = 0
        self.decoder, self.last_executed = Decoder(), None
        self.executed: list[tuple[int, int, int, tuple[int, ...]]] = []
        self.outgoing: deque[tuple[float, bytes]] = deque()
        self.incoming: deque[tuple[float, bytes]] = deque()
        self.enable = self.running = self.armed = self.blanked = self.committing = False
        self.late, self.next_late = False, False
        self.fault, self.amplifier_fault = InterlockFault.NONE, AmplifierFault.NONE
        self.absent = False
        self.runs_at = self.beat_at = self.time
        self.mask = self.sequence = self.steps = self.lost = self.lose = 0
        self.bad = self.good = 0
        self.next_step = np.inf
        self.commits = 0

    # --- the transport --------------------------------------------------------------------------

    def now(self) -> float:
        return self.time

    def close(self) -> None:
        self.closed = True

    def write(self, data: bytes) -> None:
        if self.cable.fail_after is not None:
            data, rest = data[: self.cable.fail_after], data[self.cable.fail_after :]
            self.cable.fail_after -= len(data)
            if rest:
                self.cable.fail_after, self.cable.plugged = None, False
                self.incoming.append((self.time, data))
                self._deliver()
                self.outgoing.clear()
                raise LinkError("fake: pulled in mid-burst")
        if not self.cable.plugged:
            raise LinkError("fake: no device")
        self._travel(self.incoming, data)

    def read(self, timeout_s: float) -> bytes:
        end = self.time + max(timeout_s, 0.0)
        while True:
            if not self.cable.plugged:
                self.outgoing.clear()
                self.incoming.clear()
                self._run_until(end)
                raise LinkError("fake: no device")
            self._deliver()
            if self.outgoing and self.outgoing[0][0] <= self.time:
                received = b""
                while self.outgoing and self.outgoing[0][0] <= self.time:
                    received += self.outgoing.popleft()[1]
                return received
            if self.time >= end:
                return b""
            moments = [end, self.next_step]
            moments += [queue[0][0] for queue in (self.outgoing, self.incoming) if queue]
            self._run_until(max(min(moments), self.time))

    def arrive(self) -> None:
        """Let everything that the host has sent arrive."""
        while self.incoming:
            self._run_until(max(self.incoming[0][0], self.time))
            self._deliver()

    def _travel(self, queue: deque[tuple[float, bytes]], data: bytes) -> None:
        cable, rng = self.cable, self.rng
        if rng.random() < cable.drop:
            return
        if rng.random() < cable.corrupt:
            place = rng.integers(len(data))
            data = data[:place] + bytes([data[place] ^ 1 << rng.integers(8)]) + data[place + 1 :]
        if rng.random() < cable.truncate:
            data = data[: rng.integers(len(data))]
        if rng.random() < cable.duplicate:
            data += data
        arrival = self.time + cable.latency_s + (cable.delay_s if rng.random() < cable.delay else 0.0)
        queue.append((max(arrival, queue[-1][0] if queue else 0.0), data))  # a cable keeps the order

    def _deliver(self) -> None:
        while self.incoming and self.incoming[0][0] <= self.time:
            before = self.decoder.bad
            payloads = self.decoder.feed(self.incoming.popleft()[1])
            self.bad += self.decoder.bad - before
            for payload in payloads:
                self.good += 1
                self._execute(payload)

    # --- requests -------------------------------------------------------------------------------

    def _execute(self, payload: bytes) -> None:
        if len(payload) < 5:
            return
        sequence, operation, count, address = struct.unpack("<BBBH", payload[:5])
        if operation not in (READ, WRITE):
            self._reply(sequence, operation, [], BAD_OPERATION)
            return
        if not 1 <= count <= 32 or len(payload) != 5 + (4 * count if operation == WRITE else 0):
            self._reply(sequence, operation, [], BAD_LENGTH)
            return
        words = struct.unpack(f"<{count}I", payload[5:]) if operation == WRITE else ()
        if operation == WRITE and self.last_executed is not None and self.last_executed[0] == sequence:
            self._reply(sequence, operation, [], self.last_executed[1])
            return
        answers, status = [], OK
        for i in range(count):
            at = address + 4 * i
            if operation == WRITE:
                status = self._write(at, words[i])
                if status:
                    break
            else:
                word, bad = self._read(at)
                answers.append(word)
                status = status or bad
        self.executed.append((sequence, operation, address, words))
        self.last_executed = (sequence, status)
        self._reply(sequence, operation, answers, status)

    def _reply(self, sequence: int, operation: int, words: list[int], status: int) -> None:
        head = bytes([sequence, operation & 0x7F | 0x80])
        self._send(head + struct.pack(f"<{len(words)}I", *words) + bytes([status]))

    def _send(self, payload: bytes) -> None:
        if self.cable.plugged:
            self._travel(self.outgoing, encode(payload))

    def _register(self, address: int) -> str | None:
        register = self.map.by_address.get(address)
        return None if register is None else register.path

    def _write(self, address: int, word: int) -> int:
        path = self._register(address)
        if path is None or not self.map[path].writable:
            return BAD_ADDRESS
        if path.startswith(_PARAMETERS):
            if path.endswith("LEVEL_HIGH"):
                self.level_high = word
                return OK
            if self.committing or len(self.shadow) == self.capacity:
                return FULL
            if path.endswith(".LEVEL") and f"{path}_HIGH" in self.map.registers:
                word |= self.level_high << 32
            self.shadow.append((path, word))
        elif path == "control.TELEMETRY":
            self.mask = word & 0xFFFF
        elif path == "control.CONTROL":
            self._set_enable(bool(word & 1))
        elif path == "control.COMMAND":
            self._command(word)
        return OK

    def _command(self, word: int) -> None:
        arm, disarm, heartbeat, commit, discard = (bool(word >> bit & 1) for bit in range(5))
        if heartbeat:
            self.beat_at = self.time
        if disarm:
            self._disarm(InterlockFault.NONE)
        elif arm:
            if self.running:
                self.armed, self.fault, self.beat_at = True, InterlockFault.NONE, self.time
            else:
                self.fault = InterlockFault.AMPLIFIER
            self._say_state()
        if discard:
            self.shadow.clear()
        if commit:
            self.committing = True
            if self.next_step == np.inf:
                self._commit()

    def _disarm(self, fault: InterlockFault) -> None:
        if self.armed or fault is not InterlockFault.NONE:
            self.armed, self.fault = False, fault
            self._say_state()

    def _set_enable(self, on: bool) -> None:
        if on and not self.enable:
            self.runs_at = self.time + SET_UP_S
            self.amplifier_fault = AmplifierFault.NONE
        if not on and self.running:
            self.running, self.armed, self.fault = False, False, InterlockFault.AMPLIFIER
            self._say_state()
        self.enable = on

    def _read(self, address: int) -> tuple[int, int]:
        path = self._register(address)
        if path is None or not self.map[path].readable:
            return 0, BAD_ADDRESS
        block, _, name = path.partition(".")
        if block == "control":
            return self._control(name), OK
        if name == "LEVEL_HIGH":
            return self.level_latch, OK
        word = self._parameter(path)
        if name == "LEVEL":
            self.level_latch = word >> 32 & 0xFFFFFFFF
        return word & 0xFFFFFFFF, OK

    def _parameter(self, path: str) -> int:
        block, _, name = path.partition(".")
        if block.startswith("circuits") and name in {p.name for p in PLASTIC}:
            return int(getattr(self.circuits, name.lower())[int(block[9:-1])])
        return self.words[path]

    def _control(self, name: str) -> int:
        config, filtered = self.config, self._detection().filtered
        status = (
            self.running, self.armed, False, self.blanked, False, False, self.committing, self.late
        )  # fmt: skip
        words = {
            "MAGIC": 0x6D7A6F6E,
            "VERSION": 0x000100,
            "GEOMETRY": len(config.electrodes.pn)
            | config.amplifier.electrodes << 8
            | config.recalibration.enabled << 16
            | filtered << 17,
            "CLOCK_HZ": round(config.time.clock_hz),
            "CONTROL": int(self.enable),
            "STATUS": sum(bit << place for place, bit in enumerate(status)),
            "FAULT": self.fault.value | self.amplifier_fault.value << 8,
            "SHADOW": len(self.shadow) | self.capacity << 16,
            "TELEMETRY": self.mask,
            "STEPS": self.steps,
            "FRAMES_GOOD": self.good,
            "FRAMES_BAD": self.bad,
            "TELEMETRY_LOST": self.lost,
            "DETECTIONS": 0,
            "RESPONSES": 0,
        }
        words |= {"PROTOCOL": self.protocol, "IDENTITY[0]": 0x01234567, "IDENTITY[1]": 0x89ABCDEF}
        words |= {f"CONFIG_HASH[{i}]": int(config.digest[8 * i : 8 * i + 8], 16) for i in range(8)}
        return words[name]

    # --- parameters -----------------------------------------------------------------------------

    def _detection(self) -> DetectionParameters:
        return DetectionParameters(
            self.config, electrode_settings(self.config), self.config.amplifier.rate_hz
        )

    def _format(self, path: str) -> QFormat | None:
        block, _, name = path.partition(".")
        if block.startswith("circuits"):
            return parameter_formats(self.config)[Parameter[name]]
        return self._detection().row_format(DetectionRow[name]) if block.startswith("elec") else None

    def _configured(self) -> dict[str, int]:
        """The words after reset."""
        config, detection = self.config, self._detection()
        words = {path: 0 for path in self.map.registers if path.startswith(_PARAMETERS)}
        for register, word in settings_words(StimulationTiming(config).settings).items():
            words[f"stimulation.{register.name}"] = word
        for electrode in range(config.amplifier.electrodes):
            for row in detection.rows:
                words[f"electrodes[{electrode}].{row.name}"] = int(detection.words(row)[electrode])
        if config.recalibration.enabled:
            coefficients = coefficient_words(config.recalibration.coefficients, config)
            for circuit in range(self.circuits.channels):
                for row in Row:
                    words[f"circuits[{circuit}].{row.name}"] = coefficients[row]
        return words

    def _commit(self) -> None:
        for path, word in self.shadow:
            fmt = self._format(path)
            if fmt is not None:
                word &= (1 << fmt.width) - 1
                word -= (1 << fmt.width) if fmt.signed and word > fmt.raw_max else 0
            block, _, name = path.partition(".")
            if block.startswith("circuits") and name in {p.name for p in PLASTIC}:
                getattr(self.circuits, name.lower())[int(block[9:-1])] = word
            else:
                self.words[path] = word
        self.late, self.next_late = self.next_late, False
        self._say(RecordKind.COMMITTED, flags=int(self.late), data=len(self.shadow))
        self.shadow.clear()
        self.committing = False
        self.commits += 1

    # --- time -----------------------------------------------------------------------------------

    def _run_until(self, moment: float) -> None:
        while True:
            starts = self.enable and not self.running and self.amplifier_fault is AmplifierFault.NONE
            if starts and self.runs_at <= moment:
                self.time = max(self.time, self.runs_at)
                if self.absent:
                    self.amplifier_fault = AmplifierFault.ABSENT
                else:
                    self.running = True
                    self.next_step = min(self.next_step, self.time + self.config.time.step_s)
                self._say_state()
            if self.armed and self.time - self.beat_at > self.config.stimulation.watchdog_s:
                self._disarm(InterlockFault.WATCHDOG)
            if self.next_step > moment:
                break
            self.time = self.next_step
            self.next_step += self.config.time.step_s
            self._step()
        self.time = max(self.time, moment)

    def _step(self) -> None:
        if self.committing:
            self._commit()
        at, shape = self.steps, (1, self.circuits.channels)
        pn, io, blanked = np.zeros(shape, bool), np.zeros(shape, bool), not self.running
        if self.running and self.session is not None and at < len(self.session.blanked):
            pn[0], io[0] = self.session.pn[at], self.session.io[at]
            blanked = bool(self.session.blanked[at])
            io &= not blanked  # what does not count is not told
        response = self.circuits.process(pn, io, blanked=np.full(shape, blanked), trace=True)
        self.steps += 1
        for circuit in range(shape[1]):
            events = [int(each[0, circuit]) for each in (pn, io, response.cr)]
            changed = response.signals["plasticity_trace"][0, circuit] and self.mask & 1
            if any(events) or changed:
                flags = events[0] | events[1] << 1 | events[2] << 2 | blanked << 3
                word = int(response.weight[0, circuit]) & 0xFFFFFFFF
                self._say(RecordKind.STEP, index=circuit, flags=flags, data=word)
        if blanked != self.blanked:
            self.blanked = blanked
            self._say(RecordKind.BLANKING, flags=int(blanked))
        for outcome in response.recalibrations:
            flags, rate = int(outcome.status), int(outcome.rate)
            self._say(RecordKind.RECALIBRATION, index=outcome.channel, flags=flags, data=rate)
        if at % (1 << 14) == 0:
            self._say(RecordKind.TIME, data=self.steps >> 16)

    def _say_state(self) -> None:
        faults = self.fault.value | self.amplifier_fault.value << 8
        self._say(RecordKind.STATE, flags=self.running | self.armed << 1, data=faults)

    def _say(self, kind: RecordKind, *, index: int = 0, flags: int = 0, data: int = 0) -> None:
        if kind is not RecordKind.LOST and not self.mask >> kind & 1:
            return
        if self.lose and kind is not RecordKind.LOST:
            self.lose, self.lost = self.lose - 1, self.lost + 1
            if not self.lose:
                self._say(RecordKind.LOST, data=self.lost)
            return
        record = Record(self.sequence, kind, index, flags, self.steps & 0xFFFF, data)
        self.sequence = (self.sequence + 1) % 256
        self._send(record.payload())


def connect(device: FakeDevice, **options: Any) -> Host:
    return Host(device, device.config, **options)


def session_of(config: ChipConfig, steps: int, seed: int = 1) -> Session:
    """Detections often enough that w moves and CRs come."""
    rng = np.random.default_rng(seed)
    shape = (steps, len(config.electrodes.pn))
    blanked = np.repeat(rng.random(steps // 50 + 1) < 0.1, 50)[:steps]
    return Session(rng.random(shape) < 0.01, rng.random(shape) < 0.02, blanked)

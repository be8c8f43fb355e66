"""The register file: what ``chip.rdl`` names, between the bus of the link and the ports of a chip.

Words written to parameters wait in a queue and take effect together, between two steps. What is in the
control block is wired by the names that it has in the SystemRDL; one that nothing drives is an error.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden_model.chip import electrode_settings
from ...golden_model.config import ChipConfig
from ...golden_model.detection_parameters import DetectionParameters
from ...golden_model.microcircuit import CYCLES_PER_CHANNEL
from ..amplifier.amplifier import AmplifierFault
from ..component import Component
from ..detection.parameters import detection_access_layout, detection_word_width
from ..identity import NO_IDENTITY
from ..link.frames import Status
from ..link.link import Bus, bus_signature
from ..link.telemetry import COUNT_BITS, Committed, committed_signature
from ..microcircuit.parameters import access_layout, word_width
from ..stimulation.interlock import InterlockFault
from ..stimulation.registers import stimulation_layout
from .control import Fields, check_driven, identification
from .decoder import CONTROL_BITS, BlockDecoder, is_asked, is_writable
from .map import BLOCKS, LEVEL_HIGH, WORD_BITS, RegisterMap, register_map
from .rows import RegisterRows

__all__ = ["CAPACITY", "MAGIC", "RegisterFile"]

CAPACITY = 112
"""Words that can wait, by default: with the control block, 256 rows of memory."""
MAGIC = int.from_bytes(b"mzon", "big")
_PORTS: dict[str, tuple[str, tuple[str | None, str]]] = {
    "stimulation": ("stimulation", (None, "register")),
    "circuits": ("circuit", ("channel", "parameter")),
    "electrodes": ("detection", ("electrode", "row")),
}
"""What a block's ports are called, and in an access the index and the number of a register."""


_APPLY_CYCLES = 5
"""States from SETTLE to the first word at its block, FETCH to APPLY; and one, as settling counts from 0."""


class _Sequence:
    """What the file does now, and how far it has come.

    Attributes
    ----------
    written : Signal
        A write of the bus to a register that there is ends in this cycle.
    offers : Signal
        The block that the place names is asked, or given a word.
    gathers : Signal
        What the place names is read.
    second_row : Signal
        Of the two rows of a word that waits, that of the word itself; else that of its place.
    applying : Signal
        A commit is in progress.
    waiting, done : Signal
        Words that wait, and how many of them have been applied; before that, cycles of settling.
    refused : Value
        No word can join those that wait.
    closed : Signal
        A commit has been asked for and has not ended.
    due : Signal
        The tick in which it begins has been.
    opened : Signal
        The first sample of a frame has come since the last tick.
    late : Signal
        See ``committed``.
    commit, discard : Signal
        The commands.
    """

    def __init__(self, capacity: int, settle_cycles: int) -> None:
        self.written, self.offers, self.gathers = Signal(), Signal(), Signal()
        self.second_row, self.applying = Signal(), Signal()
        self.waiting = Signal(range(capacity + 1))
        self.done = Signal(range(max(capacity, settle_cycles) + 1))
        self.closed, self.due, self.opened, self.late = Signal(), Signal(), Signal(), Signal()
        self.commit, self.discard = Signal(), Signal()
        self.refused = self.closed | (self.waiting == capacity)


class _Address:
    """What an address names.

    What waits in the queue exists, so that its block is enough to know.

    Parameters
    ----------
    known : RegisterMap
    address : Signal
        Of the bus.

    Attributes
    ----------
    place_bits : Signal
        The bits of the address, or of a word that waits, that are not 0 in every register's address.
    from_bus : Signal
        `place_bits` are all that is not 0 in the address of the bus. Not while words are applied: nothing is
        read from a block then.
    blocks : dict of str to BlockDecoder
        Where the place is in each block.
    control : BlockDecoder
        The one of the control block.
    is_high : Value
        It is LEVEL_HIGH.
    asks : Value
        To read it, its block is asked.
    joins : Value
        A word written to it joins the queue.
    may_read, may_write : Value
        It is a register that is read; that is written.
    """

    def __init__(self, known: RegisterMap, address: Signal) -> None:
        self._address = address
        self._used = functools.reduce(operator.or_, known.by_address)
        self._kept = [at for at in range(len(address)) if self._used >> at & 1]
        self.place_bits, self.from_bus = Signal(len(self._kept)), Signal()
        place = _spread(self.place_bits, self._used >> 2)
        self.blocks = blocks = {name: BlockDecoder(known, name, place) for name in ("control", *BLOCKS)}
        self.control = blocks["control"]
        self.is_high = blocks["electrodes"].named(LEVEL_HIGH)
        self.asks = self.from_bus & Cat(blocks[name].names(is_asked) for name in _PORTS).any()
        self.joins = Cat(blocks[name].names(is_writable) for name in _PORTS).any()
        self.may_read = self.asks | self.is_high | self.control.names(lambda register: register.readable)
        self.may_write = self.joins | self.control.names(is_writable)

    def take(self, m: Module) -> None:
        """The address of the bus becomes the place."""
        m.d.sync += [
            self.place_bits.eq(Cat(self._address[at] for at in self._kept)),
            self.from_bus.eq((self._address & ~self._used) == 0),
        ]


class _Ports(NamedTuple):
    """What the blocks say to the access that is offered: one has taken it; one has answered."""

    offered: Value
    answered: Value


class RegisterFile(Component):
    """Control registers, counters, and the shadow queue of the parameters.

    An address that does not exist, is misaligned, or may not be read or written so is answered with
    BAD_ADDRESS and has no effect; a read of it gives 0. A word written to a parameter joins the queue, FULL
    where there is no room, and from COMMAND.commit until the commit has ended. A commit begins with the next
    tick, at once while no steps are made: the words are applied in their order once the microcircuits have
    made the step of that tick, so that no trigger of it meets half of them. Accesses wait meanwhile.

    Nothing hangs: only what exists is asked of a block, and each block takes an access in the gap that every
    frame leaves it, and answers it; the queue is finite and closed while it is applied; a read waits for the
    counters, which rest between their strobes.

    Parameters
    ----------
    config : ChipConfig
    capacity : int
        Words that the queue has room for, 2 at least: two rows of memory each.
    identity : str
        What the gateware says of itself, see ``identity_of``.

    Attributes
    ----------
    map : RegisterMap
    settle_cycles : int
        Clock cycles from the tick in which a commit begins to the first word.

    Members
    -------
    bus : In(bus_signature())
        From the link.
    circuit_access, detection_access, stimulation_access : Out(stream)
        To the ports of :class:`Chip` of these names.
    circuit_readback, detection_readback, stimulation_readback : In(stream)
        Their answers.
    enable, arm, disarm, heartbeat : Out(1)
        To the chip; the last three for one cycle.
    running, armed, train, blanked, overrun, rejected : In(1)
        Of the chip: register STATUS.
    stimulation_fault : In(InterlockFault)
        Of the chip: register FAULT.
    amplifier_fault : In(AmplifierFault)
        Of the chip: register FAULT.
    faulty_chip : In(a number of an amplifier chip)
        Of the chip: register FAULT.
    tick : In(1)
        A step begins.
    first_sample : In(1)
        The first sample of a frame comes: words of the detection that are applied later are late.
    stepping : In(1)
        Steps are being made. While none are, a commit begins at once.
    good, bad, detected, responded : In(1)
        Strobes that are counted, none lost where responses are 4 cycles apart, detections 16, and the
        others 32.
    lost : In(1)
        A record was lost, in each cycle in which it is 1.
    telemetry_mask : Out(16)
        See :class:`Telemetry`.
    steps : Out(32)
        Ticks so far.
    committed : Out(committed_signature())
        ``valid`` for the one cycle in which a commit ends, with the number of its ``words``, and ``late`` if
        a word of the detection came after a frame's first sample, or the next tick before the end.

    Raises
    ------
    ConfigError
        See :func:`register_map`.
    ValueError
        If `capacity` is out of range, or the map has a register that nothing drives.
    """

    bus: Bus
    circuit_access: stream.Interface
    circuit_readback: stream.Interface
    detection_access: stream.Interface
    detection_readback: stream.Interface
    stimulation_access: stream.Interface
    stimulation_readback: stream.Interface
    enable: Signal
    arm: Signal
    disarm: Signal
    heartbeat: Signal
    running: Signal
    armed: Signal
    train: Signal
    blanked: Signal
    overrun: Signal
    rejected: Signal
    stimulation_fault: Signal
    amplifier_fault: Signal
    faulty_chip: Signal
    tick: Signal
    first_sample: Signal
    stepping: Signal
    good: Signal
    bad: Signal
    detected: Signal
    responded: Signal
    lost: Signal
    telemetry_mask: Signal
    steps: Signal
    committed: Committed

    def __init__(self, config: ChipConfig, *, capacity: int = CAPACITY, identity: str = NO_IDENTITY) -> None:
        if not 2 <= capacity < 1 << COUNT_BITS:
            raise ValueError(f"capacity = {capacity}: limits are 2 and {(1 << COUNT_BITS) - 1}")
        self.config, self.capacity, self.identity = config, capacity, identity
        self.map = register_map(config)
        circuits = len(config.electrodes.pn)
        detection = DetectionParameters(config, electrode_settings(config), config.amplifier.rate_hz)
        # The last response triggers a whole walk after the tick; the stimulation hears it in that cycle.
        self.settle_cycles = CYCLES_PER_CHANNEL * circuits + 2
        stimulation = stimulation_layout(config)
        super().__init__(
            {
                "bus": In(bus_signature()),
                "circuit_access": Out(stream.Signature(access_layout(config, circuits))),
                "circuit_readback": In(stream.Signature(word_width(config))),
                "detection_access": Out(stream.Signature(detection_access_layout(detection))),
                "detection_readback": In(stream.Signature(detection_word_width(detection))),
                "stimulation_access": Out(stream.Signature(stimulation)),
                "stimulation_readback": In(stream.Signature(stimulation["word"].shape)),
                "enable": Out(1),
                "arm": Out(1),
                "disarm": Out(1),
                "heartbeat": Out(1),
                "running": In(1),
                "armed": In(1),
                "train": In(1),
                "blanked": In(1),
                "overrun": In(1),
                "rejected": In(1),
                "stimulation_fault": In(InterlockFault),
                "amplifier_fault": In(AmplifierFault),
                "faulty_chip": In(range(max(config.amplifier.chips, 2))),
                "tick": In(1),
                "first_sample": In(1),
                "stepping": In(1),
                "good": In(1),
                "bad": In(1),
                "detected": In(1),
                "responded": In(1),
                "lost": In(1),
                "telemetry_mask": Out(16),
                "steps": Out(WORD_BITS),
                "committed": Out(committed_signature()),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sequence = _Sequence(self.capacity, self.settle_cycles)
        address = _Address(self.map, self.bus.address)
        m.submodules.rows = rows = self._rows()
        self._judge(m, sequence, address)
        self._find_row(m, sequence, address, rows)
        high = self._gather(m, sequence, address, rows)
        ports = self._offer(m, sequence, address, rows, high)
        self._queue(m, sequence)
        with m.FSM():
            self._access(m, sequence, address, rows, ports, high)
            self._apply(m, sequence, address, rows, ports, high)
        return m

    def _judge(self, m: Module, sequence: _Sequence, address: _Address) -> None:
        """Whether the access of the bus may be: its status."""
        bus = self.bus
        joins_full = bus.write & address.joins & sequence.refused
        m.d.comb += [
            sequence.written.eq(bus.ready & bus.write & address.from_bus),
            bus.status.eq(
                Mux(
                    address.from_bus & Mux(bus.write, address.may_write, address.may_read),
                    Mux(joins_full, Status.FULL, Status.OK),
                    Status.BAD_ADDRESS,
                )
            ),
        ]

    def _find_row(self, m: Module, sequence: _Sequence, address: _Address, rows: RegisterRows) -> None:
        """The row of the memory that is read or written.

        Words that wait are in pairs of rows, the place and the word. Those of the control block that are no
        constants or counters are 0, as is the last.
        """
        bus, control = self.bus, address.control
        entry = Cat(sequence.second_row, Mux(sequence.applying, sequence.done, sequence.waiting))
        nowhere = ~(control.hit & address.from_bus)
        row = Cat(control.number | nowhere.replicate(CONTROL_BITS), Const(-1, WORD_BITS))
        m.d.comb += [
            rows.strobes.eq(Cat(self._counted().values())),
            rows.row.eq(Mux(sequence.applying | bus.write, entry, row)),
            rows.given.eq(Mux(sequence.second_row, bus.write_data, address.place_bits)),
        ]

    def _gather(self, m: Module, sequence: _Sequence, address: _Address, rows: RegisterRows) -> Signal:
        """What is read, in one register, where the words of a commit pass, too; and the top of a LEVEL.

        Nothing selected gives 0.
        """
        high = Signal(max(len(self.detection_readback.payload) - WORD_BITS, 1))
        sources = [(address.is_high, high), *self._control(m, sequence, address.control)]
        sources += [(address.blocks[name].names(is_asked), self._port(name)[1].payload) for name in _PORTS]
        gathered: Value = rows.word
        for select, value in sources:
            gathered |= Mux(select & address.from_bus, value[:WORD_BITS], 0)
        with m.If(sequence.gathers):
            m.d.sync += self.bus.read_data.eq(gathered)
        return high

    def _offer(
        self, m: Module, sequence: _Sequence, address: _Address, rows: RegisterRows, high: Signal
    ) -> _Ports:
        """The ports of the blocks: the place says what they are to do."""
        offered, answered = [], []
        for name in _PORTS:
            (access, readback, (index, number)), block = self._port(name), address.blocks[name]
            selected = block.owns & ~address.is_high
            m.d.comb += [
                access.valid.eq(sequence.offers & selected),
                access.payload[number].eq(block.number),
                access.payload.write.eq(sequence.applying),
                access.payload.word.eq(Cat(self.bus.read_data, high)),
                readback.ready.eq(sequence.gathers & address.asks & selected & rows.settled),
            ]
            if index is not None:
                m.d.comb += access.payload[index].eq(block.index)
            offered.append(access.ready & selected)
            answered.append(readback.valid & selected)
        return _Ports(Cat(offered).any(), Cat(answered).any())

    def _queue(self, m: Module, sequence: _Sequence) -> None:
        """Commit and discard, and whether a commit is late."""
        closed, due, opened, late = sequence.closed, sequence.due, sequence.opened, sequence.late
        m.d.sync += [
            due.eq(closed & (due | self.tick)),
            opened.eq((opened & ~self.tick) | self.first_sample),
        ]
        with m.If(sequence.discard):
            m.d.sync += [sequence.waiting.eq(0), closed.eq(0)]
        with m.If(sequence.commit):
            m.d.sync += closed.eq(1)
        m.d.comb += [self.committed.words.eq(sequence.done), self.committed.late.eq(late)]
        with m.If(sequence.applying):
            m.d.sync += late.eq(late | self.tick | (opened & self.detection_access.valid))

    def _access(
        self,
        m: Module,
        sequence: _Sequence,
        address: _Address,
        rows: RegisterRows,
        ports: _Ports,
        high: Signal,
    ) -> None:
        """States of an access of the bus."""
        bus, closed, due = self.bus, sequence.closed, sequence.due
        with m.State("IDLE"):
            m.d.sync += sequence.done.eq(0)
            address.take(m)
            with m.If(closed & (due | self.tick | ~self.stepping)):
                m.d.sync += [
                    due.eq(0),
                    sequence.late.eq(0),
                    sequence.applying.eq(1),
                    address.from_bus.eq(0),
                ]
                m.next = "SETTLE"
            with m.Elif(bus.valid):
                m.next = "ASK"
                with m.If(bus.write):
                    m.next = "WRITE"
        with m.State("ASK"):
            m.d.comb += sequence.offers.eq(address.asks)
            with m.If(~address.asks | ports.offered):
                m.next = "GATHER"
        with m.State("GATHER"):
            m.d.comb += sequence.gathers.eq(1)
            with m.If(rows.settled & (~address.asks | ports.answered)):
                m.next = "ANSWER"
                with m.If(address.asks & address.blocks["electrodes"].owns):
                    m.d.sync += high.eq(self.detection_readback.payload[WORD_BITS:])
        with m.State("ANSWER"):
            m.d.comb += bus.ready.eq(1)
            m.next = "IDLE"
        with m.State("WRITE"):
            with m.If(address.from_bus & address.joins & ~sequence.refused):
                m.d.comb += rows.put.eq(1)
                with m.If(rows.free):
                    m.next = "JOIN"
            with m.Else():
                m.d.comb += bus.ready.eq(1)
                m.next = "IDLE"
        with m.State("JOIN"):
            m.d.comb += [rows.put.eq(1), sequence.second_row.eq(1)]
            with m.If(rows.free):
                m.d.comb += bus.ready.eq(1)
                m.d.sync += sequence.waiting.eq(sequence.waiting + 1)
                m.next = "IDLE"

    def _apply(
        self,
        m: Module,
        sequence: _Sequence,
        address: _Address,
        rows: RegisterRows,
        ports: _Ports,
        high: Signal,
    ) -> None:
        """States of a commit: once the step has been made, the words that wait go to their blocks."""
        done, applying = sequence.done, sequence.applying
        with m.State("SETTLE"):
            m.d.sync += done.eq(done + 1)
            with m.If(done == self.settle_cycles - _APPLY_CYCLES):
                m.d.sync += done.eq(0)
                m.next = "FETCH"
        with m.State("FETCH"):
            m.d.comb += sequence.second_row.eq(1)
            m.next = "WORD"
            with m.If(done == sequence.waiting):
                m.d.comb += self.committed.valid.eq(1)
                m.d.sync += [sequence.waiting.eq(0), sequence.closed.eq(0), applying.eq(0)]
                m.next = "IDLE"
        with m.State("WORD"):
            m.d.comb += [sequence.gathers.eq(1), sequence.second_row.eq(~rows.settled)]
            with m.If(rows.settled):
                m.next = "PLACE"
        with m.State("PLACE"):
            m.d.sync += address.place_bits.eq(rows.word)
            with m.If(rows.settled):
                m.next = "APPLY"
        with m.State("APPLY"):
            m.d.comb += sequence.offers.eq(1)
            with m.If(address.is_high):
                m.d.sync += high.eq(self.bus.read_data)
            with m.If(address.is_high | ports.offered):
                m.d.sync += done.eq(done + 1)
                m.next = "FETCH"

    def _port(self, block: str) -> tuple[stream.Interface, stream.Interface, tuple[str | None, str]]:
        """The two streams of a block, and what an access calls its index and its number."""
        name, fields = _PORTS[block]
        return getattr(self, f"{name}_access"), getattr(self, f"{name}_readback"), fields

    def _control(self, m: Module, sequence: _Sequence, control: BlockDecoder) -> list[tuple[Value, Value]]:
        """Registers of the control block that are signals; a select and a word for each that is read."""
        kept: Fields = {"CONTROL": {"enable": self.enable}, "TELEMETRY": {"mask": self.telemetry_mask}}
        pulses: Fields = {
            "COMMAND": {
                "arm": self.arm,
                "disarm": self.disarm,
                "heartbeat": self.heartbeat,
                "commit": sequence.commit,
                "discard": sequence.discard,
            }
        }
        read: Fields = kept | {
            "STATUS": {
                "running": self.running,
                "armed": self.armed,
                "train": self.train,
                "blanked": self.blanked,
                "overrun": self.overrun,
                "rejected": self.rejected,
                "committing": sequence.closed,
                "late": sequence.late,
            },
            "FAULT": {
                "stimulation": Value.cast(self.stimulation_fault),
                "amplifier": Value.cast(self.amplifier_fault),
                "chip": self.faulty_chip,
            },
            "SHADOW": {"waiting": sequence.waiting},
        }
        stored = self._constants() | {name: {"count": 0} for name in self._counted()}
        check_driven(self.map, [read, stored], lambda register: register.readable)
        check_driven(self.map, [kept, pulses], is_writable)

        with m.If(self.tick):
            m.d.sync += self.steps.eq(self.steps + 1)
        for name, targets in (kept | pulses).items():
            selected = sequence.written & control.named(name)
            for field, target in targets.items():
                bits = self.map[f"control.{name}"].fields[field]
                given = self.bus.write_data[bits.low : bits.low + bits.width]
                if name in pulses:
                    m.d.comb += target.eq(selected & given)
                else:
                    with m.If(selected):
                        m.d.sync += target.eq(given)
        words = []
        for name, values in read.items():
            word: Value = Const(0, WORD_BITS)
            for field, value in values.items():
                word |= value << self.map[f"control.{name}"].fields[field].low
            words.append((control.named(name), word))
        return words

    def _counted(self) -> dict[str, Value]:
        """What is counted in memory, and its strobe; the most frequent first, bursts last."""
        return {
            "RESPONSES": self.responded,
            "DETECTIONS": self.detected,
            "FRAMES_GOOD": self.good,
            "FRAMES_BAD": self.bad,
            "STEPS": self.tick,
            "TELEMETRY_LOST": self.lost,
        }

    def _constants(self) -> dict[str, dict[str, int]]:
        """What the control block says of gateware and configuration, by register and field."""
        config = self.config
        electrodes = electrode_settings(config)
        said = identification(MAGIC, config.time.clock_hz, config.digest, self.identity)
        return said | {
            "GEOMETRY": {
                "circuits": len(config.electrodes.pn),
                "electrodes": len(electrodes),
                "recalibration": int(config.recalibration.enabled),
                "bandpass": int(any(one.bandpass_hz is not None for one in electrodes)),
            },
            "SHADOW": {"capacity": self.capacity},
        }

    def _rows(self) -> RegisterRows:
        """The memory: the queue, and above it the constants and counters."""
        depth = 1 << ceil_log2(2 * self.capacity + (1 << CONTROL_BITS))
        base, words = depth - (1 << CONTROL_BITS), [0] * depth
        for name, values in self._constants().items():
            register = self.map[f"control.{name}"]
            words[base + (register.address >> 2)] = register.word(values)
        counters = [base + (self.map[f"control.{name}"].address >> 2) for name in self._counted()]
        return RegisterRows(words, counters, width=WORD_BITS)


def _spread(bits: Value, mask: int) -> Value:
    """The bits where those of the mask are, zeros between them."""
    left = iter(bits)
    return Cat(next(left) if mask >> at & 1 else Const(0, 1) for at in range(mask.bit_length()))

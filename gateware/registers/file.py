"""The register file: what ``registers.rdl`` names, between the bus of the link and the ports of a chip.

Words written to parameters wait in a queue and take effect together, between two steps. What is in the
control block is wired by the names that it has in the SystemRDL; one that nothing drives is an error.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden_model.chip import electrode_settings
from ...golden_model.config import ChipConfig
from ...golden_model.detection_parameters import DetectionParameters
from ...golden_model.microcircuit import CYCLES_PER_CHANNEL
from ..amplifier.amplifier import AmplifierFault
from ..detection.parameters import detection_access_layout, detection_word_width
from ..link.frames import Status
from ..link.link import bus_signature
from ..microcircuit.parameters import access_layout, word_width
from ..stimulation.interlock import InterlockFault
from ..stimulation.registers import stimulation_layout
from .control import Fields, check_driven, identity
from .decoder import CONTROL_BITS, BlockDecoder, is_asked, is_writable
from .map import BLOCKS, LEVEL_HIGH, WORD_BITS, register_map
from .rows import RegisterRows

__all__ = ["CAPACITY", "MAGIC", "RegisterFile"]

CAPACITY = 112
"""Words that can wait, by default: with the control block, 256 rows of memory."""
MAGIC = int.from_bytes(b"mzon", "big")
_COUNT_BITS = 16
"""Of ``committed.words``."""
_PORTS: dict[str, tuple[str, tuple[str | None, str]]] = {
    "stimulation": ("stimulation", (None, "register")),
    "circuits": ("circuit", ("channel", "parameter")),
    "electrodes": ("detection", ("electrode", "row")),
}
"""What a block's ports are called, and in an access the index and the number of a register."""


class RegisterFile(wiring.Component):
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

    Attributes
    ----------
    map : RegisterMap
    settle_cycles : int
        Clock cycles from the tick in which a commit begins to the first word.

    Members
    -------
    bus : In(bus_signature())
    circuit_access, detection_access, stimulation_access : Out(stream)
        To the ports of :class:`Chip` of these names; ``..._readback`` : In(stream) answer.
    enable, arm, disarm, heartbeat : Out(1)
        To the chip; the last three for one cycle.
    running, armed, train, blanked, overrun, rejected, stimulation_fault, amplifier_fault, faulty_chip : In
        Of the chip: registers STATUS and FAULT.
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
    steps : Out(32)
        Ticks so far.
    committed : Out
        ``valid`` for the one cycle in which a commit ends, with the number of its ``words``, and ``late`` if
        a word of the detection came after a frame's first sample, or the next tick before the end.

    Raises
    ------
    ConfigError
        See :func:`register_map`.
    ValueError
        If `capacity` is out of range, or the map has a register that nothing drives.
    """

    def __init__(self, config: ChipConfig, *, capacity: int = CAPACITY) -> None:
        if not 2 <= capacity < 1 << _COUNT_BITS:
            raise ValueError(f"capacity = {capacity}: limits are 2 and {(1 << _COUNT_BITS) - 1}")
        self.config, self.capacity = config, capacity
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
                "committed": Out(
                    wiring.Signature({"valid": Out(1), "words": Out(_COUNT_BITS), "late": Out(1)})
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, committed = self.bus, self.committed
        acts, offers, applying, gathers, half = Signal(), Signal(), Signal(), Signal(), Signal()
        closed, commit, discard, late = Signal(), Signal(), Signal(), Signal()
        waiting = Signal(range(self.capacity + 1))
        done = Signal(range(max(self.capacity, self.settle_cycles) + 1))

        # What an address names. Its place has the bits that any register's address has. What waits in the
        # queue exists, so that its block is enough to know.
        used = functools.reduce(operator.or_, self.map.by_address)
        kept = [at for at in range(len(bus.address)) if used >> at & 1]
        short = Signal(len(kept))
        place = _spread(short, used >> 2)
        exact = Signal()  # of the bus: nothing is read from a block while words are applied
        blocks = {name: BlockDecoder(self.map, name, place) for name in ("control", *BLOCKS)}
        control, high_of = blocks["control"], blocks["electrodes"]
        is_high = high_of.named(LEVEL_HIGH)
        asks = exact & Cat(blocks[name].names(is_asked) for name in _PORTS).any()
        joins = Cat(blocks[name].names(is_writable) for name in _PORTS).any()
        refused = closed | (waiting == self.capacity)
        may_read = asks | is_high | control.names(lambda register: register.readable)
        m.d.comb += [
            acts.eq(bus.ready & bus.write & exact),
            bus.status.eq(
                Mux(
                    exact & Mux(bus.write, joins | control.names(is_writable), may_read),
                    Mux(bus.write & joins & refused, Status.FULL, Status.OK),
                    Status.BAD_ADDRESS,
                )
            ),
        ]

        # Words that wait are in pairs of rows, the place and the word. Those of the control block that are no
        # constants or counters are 0, as is the last.
        m.submodules.rows = rows = self._rows()
        entry = Cat(half, Mux(applying, done, waiting))
        row = Cat(control.number | (~(control.hit & exact)).replicate(CONTROL_BITS), Const(-1, WORD_BITS))
        m.d.comb += [
            rows.strobes.eq(Cat(self._counted().values())),
            rows.row.eq(Mux(applying | bus.write, entry, row)),
            rows.given.eq(Mux(half, bus.write_data, short)),
        ]

        # Whatever is read is gathered in one register. Nothing selected gives 0. The words of a commit pass
        # here, too.
        high = Signal(max(len(self.detection_readback.payload) - WORD_BITS, 1))
        sources = [(is_high, high), *self._control(m, control, acts, closed, late, waiting, commit, discard)]
        sources += [(blocks[name].names(is_asked), self._port(name)[1].payload) for name in _PORTS]
        gathered: Any = rows.word
        for select, value in sources:
            gathered |= Mux(select & exact, value[:WORD_BITS], 0)
        with m.If(gathers):
            m.d.sync += bus.read_data.eq(gathered)

        # The ports of the blocks: the place says what they are to do.
        offered, answered = [], []
        for name in _PORTS:
            (access, readback, (index, number)), block = self._port(name), blocks[name]
            selected = block.owns & ~is_high
            m.d.comb += [
                access.valid.eq(offers & selected),
                access.payload[number].eq(block.number),
                access.payload.write.eq(applying),
                access.payload.word.eq(Cat(bus.read_data, high)),
                readback.ready.eq(gathers & asks & selected & rows.settled),
            ]
            if index is not None:
                m.d.comb += access.payload[index].eq(block.index)
            offered.append(access.ready & selected)
            answered.append(readback.valid & selected)

        due, opened = Signal(), Signal()
        m.d.sync += [
            due.eq(closed & (due | self.tick)),
            opened.eq((opened & ~self.tick) | self.first_sample),
        ]
        with m.If(discard):
            m.d.sync += [waiting.eq(0), closed.eq(0)]
        with m.If(commit):
            m.d.sync += closed.eq(1)
        m.d.comb += [committed.words.eq(done), committed.late.eq(late)]
        with m.If(applying):
            m.d.sync += late.eq(late | self.tick | (opened & self.detection_access.valid))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    done.eq(0),
                    short.eq(Cat(bus.address[at] for at in kept)),
                    exact.eq((bus.address & ~used) == 0),
                ]
                with m.If(closed & (due | self.tick | ~self.stepping)):
                    m.d.sync += [due.eq(0), late.eq(0), applying.eq(1), exact.eq(0)]
                    m.next = "SETTLE"
                with m.Elif(bus.valid):
                    m.next = "ASK"
                    with m.If(bus.write):
                        m.next = "WRITE"
            with m.State("ASK"):
                m.d.comb += offers.eq(asks)
                with m.If(~asks | Cat(offered).any()):
                    m.next = "GATHER"
            with m.State("GATHER"):
                m.d.comb += gathers.eq(1)
                with m.If(rows.settled & (~asks | Cat(answered).any())):
                    m.next = "ANSWER"
                    with m.If(asks & high_of.owns):
                        m.d.sync += high.eq(self.detection_readback.payload[WORD_BITS:])
            with m.State("ANSWER"):
                m.d.comb += bus.ready.eq(1)
                m.next = "IDLE"
            with m.State("WRITE"):
                with m.If(exact & joins & ~refused):
                    m.d.comb += rows.put.eq(1)
                    with m.If(rows.free):
                        m.next = "JOIN"
                with m.Else():
                    m.d.comb += bus.ready.eq(1)
                    m.next = "IDLE"
            with m.State("JOIN"):
                m.d.comb += [rows.put.eq(1), half.eq(1)]
                with m.If(rows.free):
                    m.d.comb += bus.ready.eq(1)
                    m.d.sync += waiting.eq(waiting + 1)
                    m.next = "IDLE"
            with m.State("SETTLE"):
                m.d.sync += done.eq(done + 1)
                with m.If(done == self.settle_cycles - 5):
                    m.d.sync += done.eq(0)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += half.eq(1)
                m.next = "WORD"
                with m.If(done == waiting):
                    m.d.comb += committed.valid.eq(1)
                    m.d.sync += [waiting.eq(0), closed.eq(0), applying.eq(0)]
                    m.next = "IDLE"
            with m.State("WORD"):
                m.d.comb += [gathers.eq(1), half.eq(~rows.settled)]
                with m.If(rows.settled):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += short.eq(rows.word)
                with m.If(rows.settled):
                    m.next = "APPLY"
            with m.State("APPLY"):
                m.d.comb += offers.eq(1)
                with m.If(is_high):
                    m.d.sync += high.eq(bus.read_data)
                with m.If(is_high | Cat(offered).any()):
                    m.d.sync += done.eq(done + 1)
                    m.next = "FETCH"
        return m

    def _port(self, block: str) -> tuple[Any, Any, tuple[str | None, str]]:
        """The two streams of a block, and what an access calls its index and its number."""
        name, fields = _PORTS[block]
        return getattr(self, f"{name}_access"), getattr(self, f"{name}_readback"), fields

    def _control(
        self,
        m: Module,
        control: BlockDecoder,
        acts: Value,
        closed: Value,
        late: Value,
        waiting: Value,
        commit: Value,
        discard: Value,
    ) -> list[tuple[Value, Value]]:
        """Registers of the control block that are signals; a select and a word for each that is read."""
        kept: Fields = {"CONTROL": {"enable": self.enable}, "TELEMETRY": {"mask": self.telemetry_mask}}
        pulses: Fields = {
            "COMMAND": {
                "arm": self.arm,
                "disarm": self.disarm,
                "heartbeat": self.heartbeat,
                "commit": commit,
                "discard": discard,
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
                "committing": closed,
                "late": late,
            },
            "FAULT": {
                "stimulation": Value.cast(self.stimulation_fault),
                "amplifier": Value.cast(self.amplifier_fault),
                "chip": self.faulty_chip,
            },
            "SHADOW": {"waiting": waiting},
        }
        stored = self._constants() | {name: {"count": 0} for name in self._counted()}
        check_driven(self.map, [read, stored], lambda register: register.readable)
        check_driven(self.map, [kept, pulses], is_writable)

        with m.If(self.tick):
            m.d.sync += self.steps.eq(self.steps + 1)
        for name, targets in (kept | pulses).items():
            selected = acts & control.named(name)
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
            word: Any = Const(0, WORD_BITS)
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
        """What the control block says of the configuration, by register and field."""
        config = self.config
        electrodes = electrode_settings(config)
        return identity(MAGIC, config.time.clock_hz, config.digest) | {
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

"""The register block of a CFPC filter: what ``cfpc_registers.rdl`` names, from the link's bus to the filter.

The control block is wired by the names that it has in the SystemRDL; one that nothing drives is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.words import FilterWords
from ..fixed import below
from ..link.frames import RecordKind, Status, record_layout
from ..link.link import bus_signature
from ..registers.control import Fields, check_driven, identity
from ..registers.map import WORD_BITS, Register
from .filter import cfpc_access_layout, cfpc_sample_layout
from .map import CFPC_MAGIC, cfpc_register_map

__all__ = ["CfpcRegisters"]

_WORD_BYTES = WORD_BITS // 8


class CfpcRegisters(wiring.Component):
    """Steps, weights and control of a filter as registers.

    An address that does not exist, is misaligned, or may not be read or written so is answered with
    BAD_ADDRESS and has no effect; a read of it gives 0. A write of ERROR begins a step; it, and one of
    COMMAND, waits for the end of the step before, and until that one's record has left. A read of OUTPUT
    waits for the end of the step in progress, an access to a weight until the filter takes it, between steps.
    None waits for another access.

    Parameters
    ----------
    config : CfpcConfig

    Attributes
    ----------
    map : RegisterMap

    Members
    -------
    bus : In(bus_signature())
    samples : Out(stream of ``error``, ``basis``)
    outputs : In(stream)
    access : Out(stream of ``write``, ``synapse``, ``word``)
    readback : In(stream)
    busy, rejected : In(1)
    freeze : Out(1)
        These are the ports of :class:`Cfpc`.
    reset : Out(1)
        Start the filter anew, for a cycle.
    records : Out(stream of ``frames.record_layout()``)
        STEP with o in ``data``, its sign above, and the low bits of STEPS in ``step``; where CONTROL.tell is
        set.
    saturated : Out(1)
        The last o is at a limit of its format.
    steps : Out(32)
        Made so far.

    Raises
    ------
    ConfigError
        See :meth:`FilterWords.of`.
    """

    def __init__(self, config: CfpcConfig) -> None:
        self.config = config
        self._words = words = FilterWords.of(config)
        self.map = cfpc_register_map(words.count, words.inputs)
        signal, weight = words.signal.as_shape(), words.weight.as_shape()
        super().__init__(
            {
                "bus": In(bus_signature()),
                "samples": Out(stream.Signature(cfpc_sample_layout(config))),
                "outputs": In(stream.Signature(signal)),
                "access": Out(stream.Signature(cfpc_access_layout(config))),
                "readback": In(stream.Signature(weight)),
                "busy": In(1),
                "rejected": In(1),
                "freeze": Out(1),
                "reset": Out(1),
                "records": Out(stream.Signature(record_layout())),
                "saturated": Out(1),
                "steps": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, words = self.bus, self._words
        m.submodules.basis = basis = memory.Memory(  # two rows at least: an address needs a bit
            shape=words.signal.as_shape(), depth=max(words.inputs, 2), init=[]
        )
        put, get = basis.write_port(), basis.read_port()
        tell, output, stepping = Signal(), Signal(words.signal.as_shape()), Signal()

        # What an address names.
        step = self.map.block("step")
        is_basis, input_number = _window(bus.address, step[: words.inputs])
        is_weight, synapse = _window(bus.address, self.map.block("weights"))
        is_error, is_output = (
            bus.address == self.map[path].address for path in ("step.ERROR", "step.OUTPUT")
        )
        is_control, control = self._control(m, bus.address, tell)
        is_kept, is_command = (
            bus.address == self.map[path].address for path in ("control.CONTROL", "control.COMMAND")
        )
        acts = is_error | is_command
        exists = is_basis | is_weight | Mux(bus.write, acts | is_kept, is_output | is_control)
        m.d.comb += bus.status.eq(Mux(exists, Status.OK, Status.BAD_ADDRESS))

        # The step in progress, and what is told of it.
        telling, record, limits = Signal(), self.records.payload, (words.signal.raw_min, words.signal.raw_max)
        m.d.comb += [
            self.outputs.ready.eq(stepping),
            self.records.valid.eq(telling),
            record.kind.eq(RecordKind.STEP),
            record.step.eq(self.steps),
            record.data.eq(output),
            self.saturated.eq((output == limits[0]) | (output == limits[1])),
        ]
        with m.If(self.records.ready):
            m.d.sync += telling.eq(0)
        with m.If(self.outputs.valid & self.outputs.ready):
            m.d.sync += [
                output.eq(self.outputs.payload),
                self.steps.eq(self.steps + 1),
                stepping.eq(0),
                telling.eq(tell),
            ]

        with m.If(self.reset):
            m.d.sync += [output.eq(0), self.steps.eq(0)]

        fed = Signal(range(max(words.inputs, 2)))
        given, weight = (bus.write_data[: fmt.width].as_signed() for fmt in (words.signal, words.weight))
        m.d.comb += [
            put.addr.eq(input_number),
            put.data.eq(given),
            get.addr.eq(input_number),
            get.en.eq(0),
            self.samples.payload.basis.eq(get.data),
            self.samples.payload.error.eq(given),
            self.access.payload.write.eq(bus.write),
            self.access.payload.synapse.eq(synapse),
            self.access.payload.word.eq(weight),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    fed.eq(0),
                    bus.read_data.eq(Mux(is_output, output, Mux(is_control, control, 0))),
                ]
                with m.If(bus.valid):
                    m.next = "ANSWER"
                    with m.If(is_weight):
                        m.next = "ACCESS"
                    with m.Elif(is_basis & bus.write):
                        m.d.comb += put.en.eq(1)
                    with m.Elif(is_basis):
                        m.d.comb += get.en.eq(1)
                        m.next = "BASIS"
                    with m.Elif(acts & bus.write & (stepping | telling)):
                        m.next = "IDLE"
                    with m.Elif(is_error & bus.write):
                        m.next = "FETCH"
                    with m.Elif(is_output & ~bus.write & stepping):
                        m.next = "IDLE"
            with m.State("BASIS"):
                m.d.sync += bus.read_data.eq(get.data)
                m.next = "ANSWER"
            with m.State("FETCH"):
                m.d.comb += [get.addr.eq(fed), get.en.eq(1)]
                m.next = "SAMPLE"
            with m.State("SAMPLE"):
                m.d.comb += self.samples.valid.eq(1)
                with m.If(self.samples.ready):
                    m.d.sync += fed.eq(fed + 1)
                    m.next = "FETCH"
                    with m.If(fed == words.inputs - 1):
                        m.d.sync += stepping.eq(1)
                        m.next = "ANSWER"
            with m.State("ACCESS"):
                m.d.comb += self.access.valid.eq(1)
                with m.If(self.access.ready):
                    m.next = "READBACK"
                    with m.If(bus.write):
                        m.next = "ANSWER"
            with m.State("READBACK"):
                m.d.comb += self.readback.ready.eq(1)
                m.d.sync += bus.read_data.eq(self.readback.payload)
                with m.If(self.readback.valid):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += bus.ready.eq(1)
                with m.If(bus.write & is_kept):
                    for name, kept in (("freeze", self.freeze), ("tell", tell)):
                        m.d.sync += kept.eq(self._given("control.CONTROL", name))
                with m.If(bus.write & is_command):
                    m.d.comb += self.reset.eq(self._given("control.COMMAND", "reset"))
                m.next = "IDLE"
        return m

    def _given(self, path: str, field: str) -> Value:
        """A field of a register, of one bit, in the word that is written."""
        return self.bus.write_data[self.map[path].fields[field].low]

    def _control(self, m: Module, address: Value, tell: Value) -> tuple[Value, Value]:
        """Whether an address is that of a control register that is read; and its word."""
        config, words = self.config, self._words
        kept: Fields = {"CONTROL": {"freeze": self.freeze, "tell": tell}}
        constants = identity(CFPC_MAGIC, config.time.clock_hz, config.digest) | {
            "GEOMETRY": {"synapses": words.count, "inputs": words.inputs}
        }
        signals: Fields = kept | {
            "STATUS": {"busy": self.busy, "saturated": self.saturated, "rejected": self.rejected},
            "STEPS": {"count": self.steps},
        }
        check_driven(self.map, [constants, signals], lambda register: register.readable)
        commands: Fields = {"COMMAND": {"reset": self.reset}}
        check_driven(self.map, [kept, commands], lambda register: register.writable)
        hit, word = Signal(), Signal(WORD_BITS)
        m.d.comb += hit.eq(1)
        with m.Switch(address):
            for register in self.map.block("control"):
                if not register.readable:
                    continue
                with m.Case(register.address):
                    if register.name in constants:
                        m.d.comb += word.eq(register.word(constants[register.name]))
                    else:
                        gathered: Value = Const(0, WORD_BITS)
                        for name, value in signals[register.name].items():
                            gathered |= value << register.fields[name].low
                        m.d.comb += word.eq(gathered)
            with m.Default():
                m.d.comb += hit.eq(0)
        return hit, word


def _window(address: Value, registers: Sequence[Register]) -> tuple[Value, Value]:
    """Whether an address is in a row of registers, and the number there.

    ValueError if the row does not begin at a multiple of its size, rounded up to a power of two.
    """
    first, bits = registers[0].address, max(ceil_log2(len(registers)), 1)
    if first % (_WORD_BYTES << bits):
        raise ValueError(
            f"{registers[0].path} at {first:#06x}: {len(registers)} registers begin at a multiple of "
            f"{_WORD_BYTES << bits:#x}"
        )
    low = ceil_log2(_WORD_BYTES)
    number = address[low : low + bits]
    inside = (address[low + bits :] == first >> low + bits) & ~address[:low].any()
    return inside & below(number, len(registers)), number

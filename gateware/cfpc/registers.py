"""The register block of a CFPC filter: what ``registers.rdl`` names, from the link's bus to the filter.

The control block is wired by the names that it has in the SystemRDL; one that nothing drives is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.words import FilterWords
from ..component import Component
from ..fixed import below
from ..identity import NO_IDENTITY
from ..link.frames import RecordKind, Status, record_layout
from ..link.link import Bus, bus_signature
from ..registers.control import Fields, check_driven, identification
from ..registers.map import WORD_BITS, Register
from .filter import cfpc_access_layout, cfpc_sample_layout
from .map import CFPC_MAGIC, cfpc_register_map

__all__ = ["CfpcRegisters"]

_WORD_BYTES = WORD_BITS // 8


class _Step:
    """The step in progress, and the end of the last one.

    Attributes
    ----------
    fed : Signal
        Samples that the filter has of it.
    stepping : Signal
        The filter has all of them, its output has not come.
    output : Signal
        The last o.
    tell, telling : Signal
        Records are to be sent; one waits to leave.
    """

    def __init__(self, words: FilterWords) -> None:
        self.tell, self.output, self.stepping = Signal(), Signal(words.signal.as_shape()), Signal()
        self.telling, self.fed = Signal(), Signal(range(max(words.inputs, 2)))


class _Address(NamedTuple):
    """What an address names: which register, its number in a row of them, and the word of a control register.

    ``is_kept`` is CONTROL, whose fields are kept; ``waits`` is a register a write of which waits for the end
    of a step.
    """

    is_basis: Value
    input_number: Value
    is_weight: Value
    synapse: Value
    is_error: Value
    is_output: Value
    is_control: Value
    control: Value
    is_kept: Value
    is_command: Value
    waits: Value


class CfpcRegisters(Component):
    """Steps, weights and control of a filter as registers.

    An address that does not exist, is misaligned, or may not be read or written so is answered with
    BAD_ADDRESS and has no effect; a read of it gives 0. A write of ERROR begins a step; it, and one of
    COMMAND, waits for the end of the step before, and until that one's record has left. A read of OUTPUT
    waits for the end of the step in progress, an access to a weight until the filter takes it, between steps.
    None waits for another access.

    Parameters
    ----------
    config : CfpcConfig
    identity : str
        What the gateware says of itself, see ``identity_of``.

    Attributes
    ----------
    map : RegisterMap

    Members
    -------
    bus : In(bus_signature())
        From the link.
    samples : Out(stream of cfpc_sample_layout(config))
        To the filter, as all down to `freeze`: see :class:`Cfpc`.
    outputs : In(stream of formats.signal)
    access : Out(stream of cfpc_access_layout(config))
    readback : In(stream of formats.weight)
    busy, rejected : In(1)
    freeze : Out(1)
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

    bus: Bus
    samples: stream.Interface
    outputs: stream.Interface
    access: stream.Interface
    readback: stream.Interface
    busy: Signal
    rejected: Signal
    freeze: Signal
    reset: Signal
    records: stream.Interface
    saturated: Signal
    steps: Signal

    def __init__(self, config: CfpcConfig, *, identity: str = NO_IDENTITY) -> None:
        self.config, self.identity = config, identity
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
        step = _Step(self._words)
        address = self._decode(m, step)
        self._tell(m, step)
        put, get = self._keep_basis(m, address)
        with m.FSM():
            self._begin(m, step, address, put, get)
            self._feed(m, step, get)
            self._access_weight(m)
            self._answer(m, step, address)
        return m

    def _decode(self, m: Module, step: _Step) -> _Address:
        """What the address of the bus names, and whether it may be read or written so."""
        bus, words = self.bus, self._words
        registers = self.map.block("step")
        is_basis, input_number = _window(bus.address, registers[: words.inputs])
        is_weight, synapse = _window(bus.address, self.map.block("weights"))
        is_error, is_output = (
            bus.address == self.map[path].address for path in ("step.ERROR", "step.OUTPUT")
        )
        is_control, control = self._control(m, bus.address, step.tell)
        is_kept, is_command = (
            bus.address == self.map[path].address for path in ("control.CONTROL", "control.COMMAND")
        )
        waits = is_error | is_command
        exists = is_basis | is_weight | Mux(bus.write, waits | is_kept, is_output | is_control)
        m.d.comb += bus.status.eq(Mux(exists, Status.OK, Status.BAD_ADDRESS))
        return _Address(
            is_basis,
            input_number,
            is_weight,
            synapse,
            is_error,
            is_output,
            is_control,
            control,
            is_kept,
            is_command,
            waits,
        )

    def _tell(self, m: Module, step: _Step) -> None:
        """The end of a step: o, the number of steps, and the record of it."""
        output, telling, record = step.output, step.telling, self.records.payload
        limits = (self._words.signal.raw_min, self._words.signal.raw_max)
        m.d.comb += [
            self.outputs.ready.eq(step.stepping),
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
                step.stepping.eq(0),
                telling.eq(step.tell),
            ]
        with m.If(self.reset):
            m.d.sync += [output.eq(0), self.steps.eq(0)]

    def _keep_basis(
        self, m: Module, address: _Address
    ) -> tuple[memory.WritePort[Shape, Value], memory.ReadPort[Shape, Value]]:
        """The basis words, in memory; and where the words of samples and accesses come from."""
        words, bus = self._words, self.bus
        # Two rows at least: an address needs a bit.
        basis: memory.Memory[Shape, Value] = memory.Memory(
            shape=words.signal.as_shape(), depth=max(words.inputs, 2), init=[]
        )
        m.submodules.basis = basis
        put, get = basis.write_port(), basis.read_port()
        given, weight = (bus.write_data[: fmt.width].as_signed() for fmt in (words.signal, words.weight))
        m.d.comb += [
            put.addr.eq(address.input_number),
            put.data.eq(given),
            get.addr.eq(address.input_number),
            get.en.eq(0),
            self.samples.payload.basis.eq(get.data),
            self.samples.payload.error.eq(given),
            self.access.payload.write.eq(bus.write),
            self.access.payload.synapse.eq(address.synapse),
            self.access.payload.word.eq(weight),
        ]
        return put, get

    def _begin(
        self,
        m: Module,
        step: _Step,
        address: _Address,
        put: memory.WritePort[Shape, Value],
        get: memory.ReadPort[Shape, Value],
    ) -> None:
        """States in which an access begins, or is put off, and a basis word is read."""
        bus = self.bus
        with m.State("IDLE"):
            answer = Mux(address.is_output, step.output, Mux(address.is_control, address.control, 0))
            m.d.sync += [step.fed.eq(0), bus.read_data.eq(answer)]
            with m.If(bus.valid):
                m.next = "ANSWER"
                with m.If(address.is_weight):
                    m.next = "ACCESS"
                with m.Elif(address.is_basis & bus.write):
                    m.d.comb += put.en.eq(1)
                with m.Elif(address.is_basis):
                    m.d.comb += get.en.eq(1)
                    m.next = "BASIS"
                with m.Elif(address.waits & bus.write & (step.stepping | step.telling)):
                    m.next = "IDLE"
                with m.Elif(address.is_error & bus.write):
                    m.next = "FETCH"
                with m.Elif(address.is_output & ~bus.write & step.stepping):
                    m.next = "IDLE"
        with m.State("BASIS"):
            m.d.sync += bus.read_data.eq(get.data)
            m.next = "ANSWER"

    def _feed(self, m: Module, step: _Step, get: memory.ReadPort[Shape, Value]) -> None:
        """States in which the samples of a step go to the filter."""
        with m.State("FETCH"):
            m.d.comb += [get.addr.eq(step.fed), get.en.eq(1)]
            m.next = "SAMPLE"
        with m.State("SAMPLE"):
            m.d.comb += self.samples.valid.eq(1)
            with m.If(self.samples.ready):
                m.d.sync += step.fed.eq(step.fed + 1)
                m.next = "FETCH"
                with m.If(step.fed == self._words.inputs - 1):
                    m.d.sync += step.stepping.eq(1)
                    m.next = "ANSWER"

    def _access_weight(self, m: Module) -> None:
        """States of an access to a weight."""
        with m.State("ACCESS"):
            m.d.comb += self.access.valid.eq(1)
            with m.If(self.access.ready):
                m.next = "READBACK"
                with m.If(self.bus.write):
                    m.next = "ANSWER"
        with m.State("READBACK"):
            m.d.comb += self.readback.ready.eq(1)
            m.d.sync += self.bus.read_data.eq(self.readback.payload)
            with m.If(self.readback.valid):
                m.next = "ANSWER"

    def _answer(self, m: Module, step: _Step, address: _Address) -> None:
        """The state in which an access ends, and what is written to the control block counts."""
        bus = self.bus
        with m.State("ANSWER"):
            m.d.comb += bus.ready.eq(1)
            with m.If(bus.write & address.is_kept):
                for name, kept in (("freeze", self.freeze), ("tell", step.tell)):
                    m.d.sync += kept.eq(self._given("control.CONTROL", name))
            with m.If(bus.write & address.is_command):
                m.d.comb += self.reset.eq(self._given("control.COMMAND", "reset"))
            m.next = "IDLE"

    def _given(self, path: str, field: str) -> Value:
        """A field of a register, of one bit, in the word that is written."""
        return self.bus.write_data[self.map[path].fields[field].low]

    def _control(self, m: Module, address: Value, tell: Value) -> tuple[Value, Value]:
        """Whether an address is that of a control register that is read; and its word."""
        config, words = self.config, self._words
        kept: Fields = {"CONTROL": {"freeze": self.freeze, "tell": tell}}
        said = identification(CFPC_MAGIC, config.time.clock_hz, config.digest, self.identity)
        constants = said | {"GEOMETRY": {"synapses": words.count, "inputs": words.inputs}}
        signals: Fields = kept | {
            "STATUS": {"busy": self.busy, "saturated": self.saturated, "rejected": self.rejected},
            "STEPS": {"count": self.steps},
        }
        check_driven(self.map, [constants, signals], lambda register: register.readable)
        commands: Fields = {"COMMAND": {"reset": self.reset}}
        check_driven(self.map, [kept, commands], lambda register: register.writable)
        # The address is that of one; and its word, which is 0 else.
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

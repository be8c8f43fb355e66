"""Event detection, one walk of a sample through the averages of its electrode, time-multiplexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.fixed import QFormat
from ..component import Component
from ..events import channel_shape
from ..fixed import resize
from .arithmetic import Accumulator, FrameCount, GainProduct, is_less
from .bandpass import BandPass
from .parameters import (
    TABLE_BITS,
    TableWord,
    detection_access_layout,
    detection_word_width,
    sample_layout,
    words_after_reset,
)
from .ports import DetectionCommit, detection_commit_signature

__all__ = ["Detection", "DetectionTiming", "electrode_stream"]

_COUNTED = 12
"""Cycle, after that of the accepted sample, in which all that decides is known, the threshold apart."""
_MULTIPLY = 7
"""Cycle of the first bit of the gain."""


def electrode_stream(electrodes: int) -> stream.Signature:
    """Signature of a stream of events: the ``electrode`` of each."""
    return stream.Signature(data.StructLayout({"electrode": channel_shape(electrodes)}))


class DetectionTiming:
    """Clock cycles of the event detection, known without making it.

    Parameters
    ----------
    config : ChipConfig
    settings : ChannelDetection or sequence of ChannelDetection
        One an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    parameters : DetectionParameters
    cycles_per_sample : int
        Clock cycles from one accepted sample to the next, where events are taken at once.
    latency : int
        Clock cycles from an accepted sample to its event and commit, where no sample is before it.
    initialise_cycles : int
        Clock cycles after reset before the first sample or access is served.

    Raises
    ------
    ConfigError
        If settings, rate and formats do not go together.
    ValueError
        If there is no electrode.
    """

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        self.parameters = DetectionParameters(config, settings, rate_hz)
        self.config, self.electrodes = config, self.parameters.electrodes
        for row in self.parameters.rows:
            self.parameters.words(row)  # refused before anything is made
        walk = max(_COUNTED, _MULTIPLY + config.formats.detection_gain.width)
        self.cycles_per_sample, self.latency = walk + 1, walk
        if self.parameters.filtered:
            self.cycles_per_sample = max(self.cycles_per_sample, BandPass.cycles_per_sample)
            self.latency += BandPass.latency
        self.initialise_cycles = 1 << TABLE_BITS + channel_shape(self.electrodes).width


class Detection(DetectionTiming, Component):
    """``s > gain·v`` (Herreros et al. 2014, "Signal processing"), one electrode after the other.

    The equations are in ``microzone.golden_model.detection``; this is ``DetectorFixed`` bit for bit. One
    :class:`Accumulator` does all but the product, for which :class:`GainProduct` takes a bit of the gain a
    cycle beside it. Where an electrode has a band-pass all go through :class:`BandPass` first, a sample there
    while another one is here.

    Parameters
    ----------
    config : ChipConfig
        Formats.
    settings : ChannelDetection or sequence of ChannelDetection
        Initial parameters, one an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    parameters, cycles_per_sample, latency, initialise_cycles
        See :class:`DetectionTiming`.

    Members
    -------
    samples : In(stream of sample_layout(electrodes, formats.sample))
        One an electrode and frame. That of an electrode which does not exist is dropped and sets `rejected`.
    frame : In(1)
        A new frame begins: high for one cycle, in or before that of its first sample, once all samples of
        the frame before are committed. Every frame has one, the first one too.
    events : Out(electrode_stream(electrodes))
        Valid in the cycle of the sample's commit. While one is not taken the detection stands still.
    access : In(stream of detection_access_layout(parameters))
        Read or write a parameter, between samples: what is written counts from the next sample on; bits
        beyond the format of its row are dropped. Samples go first, so that an access waits until there is
        neither one within nor one offered; it then holds a sample up by one cycle at most.
    readback : Out(stream of detection_word_width(parameters) bits)
        Answer to each read, in order, a signed word with its sign in all bits above. A further read waits
        until it is taken.
    commit : Out(detection_commit_signature(parameters))
        Every signal of a sample, valid for the one cycle that ends it: for benches and telemetry.
    busy : Out(1)
        A sample or the initialisation is in progress.
    rejected : Out(1)
        An access named a row or electrode that does not exist, or a sample such an electrode, and had no
        effect (a read answers 0). Held until reset.

    Raises
    ------
    ConfigError
        If settings, rate and formats do not go together.
    ValueError
        If there is no electrode.
    """

    samples: stream.Interface
    frame: Signal
    events: stream.Interface
    access: stream.Interface
    readback: stream.Interface
    commit: DetectionCommit
    busy: Signal
    rejected: Signal

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        DetectionTiming.__init__(self, config, settings, rate_hz)
        given, electrodes = self.parameters, self.electrodes
        Component.__init__(
            self,
            {
                "samples": In(stream.Signature(sample_layout(electrodes, config.formats.sample))),
                "frame": In(1),
                "events": Out(electrode_stream(electrodes)),
                "access": In(stream.Signature(detection_access_layout(given))),
                "readback": Out(stream.Signature(detection_word_width(given))),
                "commit": Out(detection_commit_signature(given)),
                "busy": Out(1),
                "rejected": Out(1),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sample = _Sample(self)
        intake = _Intake(m, self)
        table = _Table(m, self, sample.electrode)
        averages = _Averages(m, self, table, intake.scaled, sample.blanked)
        decision = _Decision(m, self, table, averages, sample)
        port = _AccessPort(self, intake)
        # What is written is the accumulator, or a parameter while that is 0; and beside COUNTS their bit.
        written = averages.accumulator.value | Mux(self.access.ready, port.fitted, 0)
        m.d.comb += table.write.data.eq(Cat(written[: table.width], averages.kept_log2))
        with m.If(decision.counting):
            m.d.comb += table.write.data[self.parameters.count_format.width].eq(decision.was_above)
        port.answer(m)
        m.d.comb += self.busy.eq(1)
        sequence = _Sequence(m, self, sample, intake, table, averages, decision, port)
        with m.FSM():
            sequence.initialise()
            sequence.rest()
            sequence.average()
            sequence.decide()
        return m


class _Sample:
    """The sample that is within.

    Attributes
    ----------
    electrode, blanked : Signal
    below : Signal
        It is below the mean.
    filtered, mean, variability, level : Signal
        What has become of it: for `commit` only.
    """

    def __init__(self, core: Detection) -> None:
        state = core.config.formats.detection_state.as_shape()
        self.electrode = Signal(channel_shape(core.electrodes))
        self.blanked = Signal()
        self.below = Signal()
        self.filtered = Signal(state)
        self.mean = Signal(state)
        self.variability = Signal(state)
        self.level = Signal(state)


class _Intake:
    """Samples on their way in: through the band-pass where there is one, on the scale of the averages.

    Attributes
    ----------
    bandpass : BandPass or None
    known : Value
        The electrode of the sample that is offered exists.
    into : Interface
        Stream of the samples that come within.
    scaled : Value
        The one that it offers, in ``formats.detection_state``.
    accessing : Signal
        An access is served: the band-pass accepts no sample.
    resting : Signal
        No sample is in the band-pass.
    """

    def __init__(self, m: Module, core: Detection) -> None:
        given, state = core.parameters, core.config.formats.detection_state
        self.known = core.samples.payload.electrode < core.electrodes
        self.bandpass: BandPass | None = None
        self.into = into = stream.Signature(sample_layout(core.electrodes, given.input_format)).create()
        self.accessing = Signal()
        self.resting = Signal()
        m.d.comb += self.resting.eq(1)
        if given.filtered:
            m.submodules.bandpass = bandpass = self.bandpass = BandPass(given)
            m.d.comb += [
                bandpass.samples.payload.eq(core.samples.payload),
                bandpass.samples.valid.eq(core.samples.valid & self.known),
                core.samples.ready.eq(bandpass.samples.ready),
                into.payload.eq(bandpass.filtered.payload),
                into.valid.eq(bandpass.filtered.valid),
                bandpass.filtered.ready.eq(into.ready),
                bandpass.hold.eq(self.accessing),
                self.resting.eq(bandpass.idle),
            ]
        else:
            m.d.comb += [
                into.payload.eq(core.samples.payload),
                into.valid.eq(core.samples.valid & self.known),
                core.samples.ready.eq(into.ready),
            ]
        aligned = QFormat(True, given.input_format.integer_bits, state.fraction_bits)
        self.scaled = resize(into.payload.sample.shift_left(given.align), aligned, state)


class _Table:
    """One table an electrode, of parameters and state, and behind all of them what they are after reset.

    That is a page a distinct setting. Shifts and gain are read beside the rest, from a copy of the low bits.
    Above the word of an average is its shift while it is a plain one.

    Attributes
    ----------
    width : int
        Bits of a word.
    pages : list of ChannelDetection
        The distinct settings, in the order of their pages.
    first_page : int
        Where they begin, in parts of an electrode.
    read, write : ReadPort, WritePort
    word, low_word : Value
        What was fetched.
    plain_log2 : Value
        What is above it.
    shift : Value
        That of an average, where its row was fetched from the low bits.
    """

    def __init__(self, m: Module, core: Detection, electrode: Signal) -> None:
        given, formats = core.parameters, core.config.formats
        state, count, gain = formats.detection_state, given.count_format, formats.detection_gain
        self._m, self._electrode = m, electrode
        self.width = max(state.width, count.width + 1, detection_word_width(given))
        words, self.pages = core.initialise_cycles, list(dict.fromkeys(given.settings))
        self.first_page = words >> TABLE_BITS
        after_reset = [
            word for page in self.pages for word in words_after_reset(given, given.settings.index(page))
        ]
        table: memory.Memory[int, Value] = memory.Memory(
            shape=self.width + given.most_bits.bit_length(),
            depth=words + len(after_reset),
            init=[0] * words + [word % (1 << self.width) for word in after_reset],
            attrs={"ram_style": "block"},
        )
        m.submodules.table = table
        shift_width = given.row_format(DetectionRow.MEAN_BITS).width
        low_table: memory.Memory[int, Value] = memory.Memory(
            shape=max(shift_width, gain.width), depth=words, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.low_table = low_table
        self.read, self.write = read, write = table.read_port(), table.write_port()
        self._low_read, low_write = low_read, _ = low_table.read_port(), low_table.write_port()
        self.word, self.plain_log2 = read.data[: self.width], read.data[self.width :]
        self.low_word = low_read.data
        self.shift = self.low_word[:shift_width]
        m.d.comb += [
            read.en.eq(0),
            low_read.en.eq(0),
            low_write.addr.eq(write.addr),
            low_write.data.eq(write.data),
            low_write.en.eq(write.en),
        ]

    def fetch(self, at: int | Value, whose: Value | None = None) -> None:
        """Read a word of the sample's electrode or another: it is `word` in the next cycle."""
        address = _address(at, self._electrode if whose is None else whose)
        self._m.d.comb += [self.read.addr.eq(address), self.read.en.eq(1)]

    def fetch_low(self, at: int, whose: Value | None = None) -> None:
        """Read its low bits: they are `low_word` in the next cycle."""
        address = _address(at, self._electrode if whose is None else whose)
        self._m.d.comb += [self._low_read.addr.eq(address), self._low_read.en.eq(1)]

    def keep(self, at: int) -> None:
        """Write the accumulator's value to a word of the sample's electrode."""
        self._m.d.comb += [self.write.addr.eq(_address(at, self._electrode)), self.write.en.eq(1)]


class _Averages:
    """The leaky averages, two cycles each, which are plain ones while few samples have come.

    Attributes
    ----------
    frames : FrameCount
    accumulator : Accumulator
    kept_log2 : Value
        Shift of the average as a plain one, to be kept with what `average` has made of it.
    """

    def __init__(self, m: Module, core: Detection, table: _Table, scaled: Value, blanked: Signal) -> None:
        given = core.parameters
        self._m, self._blanked = m, blanked
        m.submodules.frames = self.frames = frames = FrameCount(given)
        m.submodules.accumulator = self.accumulator = accumulator = Accumulator(given, table.width)
        m.d.comb += [
            frames.frame.eq(core.frame),
            accumulator.word.eq(table.word),
            accumulator.sample.eq(scaled),
        ]
        self._log2 = Signal.like(frames.log2)
        m.d.comb += frames.log2.eq(self._log2)

        # The shift of the second cycle of an average, 0 in any other. One that is too large counts as the
        # largest, to which that of the plain average grows: it needs no limit of its own.
        shift = table.shift
        excess: Value = Const(0, 1)
        for mine, other in zip(shift, table.plain_log2, strict=True):
            excess = Mux(mine == other, excess, mine)  # shift > plain_log2; a carry chain would be larger
        self._shift, self._plain_log2 = Mux(excess, table.plain_log2, shift), table.plain_log2
        m.d.sync += accumulator.bits.eq(0)
        self.kept_log2 = (frames.log2 + (frames.grows & ~blanked))[: len(frames.log2)]

    def subtract(self) -> None:
        """First cycle: the difference of the accumulator's value and the average that was fetched."""
        self._m.d.comb += self.accumulator.takes.eq(1)
        self._m.d.sync += [self.accumulator.bits.eq(self._shift), self._log2.eq(self._plain_log2)]

    def average(self) -> None:
        """Second cycle: the average and its share of the difference; a blanked sample leaves it."""
        accumulator, blanked = self.accumulator, self._blanked
        self._m.d.comb += [
            accumulator.takes.eq(1),
            accumulator.alone.eq(blanked),
            accumulator.rounding.eq(~blanked),
        ]


class _Decision:
    """Whether a sample is an event: s above the threshold for the first time, once settled and recovered.

    COUNTS holds ~(refractory time) after an event, then 1 more a sample, until -2 or -1, all ones but the
    last bit. In the bit above is whether s was above the threshold.

    Attributes
    ----------
    product : GainProduct
    recovered : Value
        Nothing is left of the refractory time, by the COUNTS that were fetched.
    can_be : Value
        So that an event can be: the sample before was not above.
    settled, over, was_above, ready : Signal
        What is known of it before the threshold is: enough samples have come; `recovered`; the sample before
        was above, and then this one; `can_be`.
    above, event : Signal
        The decision.
    counting : Signal
        COUNTS is written in the next cycle.
    """

    def __init__(
        self, m: Module, core: Detection, table: _Table, averages: _Averages, sample: _Sample
    ) -> None:
        count, word, now = core.parameters.count_format, table.word, core.commit
        accumulator = averages.accumulator
        m.submodules.product = self.product = product = GainProduct(core.parameters, accumulator.work)
        m.d.comb += [product.gain.eq(table.low_word), product.factor.eq(accumulator.value)]
        self.settled = settled = Signal()
        self.over = Signal()
        self.was_above = Signal()
        self.ready = Signal()
        self.above = Signal()
        self.event = Signal()
        self.counting = Signal()
        self.recovered = recovered = word[1 : count.width].all()
        self.can_be = recovered & settled & ~word[count.width]
        is_above = is_less(product.threshold, accumulator.value)
        m.d.comb += [
            self.above.eq(Mux(sample.blanked, self.was_above, is_above)),
            self.event.eq(self.above & self.ready),
            now.electrode.eq(sample.electrode),
            now.blanked.eq(sample.blanked),
            now.filtered.eq(sample.filtered),
            now.mean.eq(sample.mean),
            now.variability.eq(sample.variability),
            now.threshold.eq(Mux(product.relative, product.threshold, sample.level)),
            now.event.eq(self.event),
            core.events.payload.electrode.eq(sample.electrode),
        ]


class _AccessPort:
    """Reads and writes of parameters, between samples.

    Attributes
    ----------
    reaches : Value
        Row and electrode exist.
    is_tap : Value
        The row is a coefficient of the band-pass, which has them itself.
    requested : Value
        Address in the table.
    fitted : Value
        The word to write, in the format of its row: what is beyond is dropped.
    """

    def __init__(self, core: Detection, intake: _Intake) -> None:
        self.core, self.intake = core, intake
        given, request = core.parameters, core.access.payload
        exists = Cat(request.row == row for row in given.rows).any()
        self.reaches = (request.electrode < core.electrodes) & exists
        self.is_tap = request.row >= DetectionRow.FIRST_B0
        row = TableWord.PARAMETERS | request.row[: TABLE_BITS - 1]
        self.requested = _address(row, request.electrode)
        self.fitted: Value = Const(0, len(request.word))
        for fmt in dict.fromkeys(given.row_format(row) for row in given.rows):
            of_format = Cat(request.row == row for row in given.rows if given.row_format(row) == fmt)
            cut = request.word[: fmt.width]
            self.fitted |= Mux(of_format.any(), cut.as_signed() if fmt.signed else cut, 0)

    def answer(self, m: Module) -> None:
        """An answer stays until it is taken, and what was rejected is told for good."""
        core, intake, request = self.core, self.intake, self.core.access.payload
        with m.If(core.readback.ready):
            m.d.sync += core.readback.valid.eq(0)
        unknown_sample = core.samples.valid & core.samples.ready & ~intake.known
        with m.If((core.access.ready & ~self.reaches) | unknown_sample):
            m.d.sync += core.rejected.eq(1)
        if intake.bandpass is not None:
            coefficient = core.config.formats.filter_coefficient
            m.d.comb += [
                intake.bandpass.address.eq(Cat(request.row[:TABLE_BITS], request.electrode)),
                intake.bandpass.write_data.eq(request.word[: coefficient.width].as_signed()),
            ]


@dataclass(frozen=True)
class _Sequence:
    """What the parts do in which cycle: a state each."""

    m: Module
    core: Detection
    sample: _Sample
    intake: _Intake
    table: _Table
    averages: _Averages
    decision: _Decision
    port: _AccessPort

    def initialise(self) -> None:
        """After a reset a word is read, comes through the accumulator, and is written, all in every cycle."""
        m, core, table, accumulator = self.m, self.core, self.table, self.averages.accumulator
        cleared = Signal(range(core.initialise_cycles))
        with m.State("INITIALISE"):
            pages = [table.first_page + table.pages.index(setting) for setting in core.parameters.settings]
            page = Array(pages)[cleared[TABLE_BITS:]]
            m.d.comb += [
                table.read.addr.eq(Cat(cleared[:TABLE_BITS], page)),
                table.read.en.eq(1),
                accumulator.takes.eq(1),
                accumulator.alone.eq(1),
                table.write.addr.eq(cleared),
                table.write.en.eq(1),
            ]
            if self.intake.bandpass is not None:
                m.d.comb += [self.intake.bandpass.clear.eq(1), self.intake.bandpass.address.eq(cleared)]
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == core.initialise_cycles - 1):
                m.next = "IDLE"

    def rest(self) -> None:
        """Between samples: the next one comes in, or an access is served."""
        m, core, sample, table = self.m, self.core, self.sample, self.table
        into, accumulator = self.intake.into, self.averages.accumulator
        request, reaches, is_tap = core.access.payload, self.port.reaches, self.port.is_tap
        with m.State("IDLE"):
            m.d.comb += [
                core.busy.eq(~self.intake.resting),
                into.ready.eq(1),
                accumulator.takes.eq(1),
                accumulator.sampling.eq(1),
                accumulator.alone.eq(1),
                accumulator.clear.eq(~into.valid),
            ]
            table.fetch(TableWord.MEAN, into.payload.electrode)
            table.fetch_low(TableWord.PARAMETERS + DetectionRow.MEAN_BITS, into.payload.electrode)
            m.d.sync += [
                sample.electrode.eq(into.payload.electrode),
                sample.blanked.eq(into.payload.blanked),
                sample.filtered.eq(Mux(into.payload.blanked, 0, self.intake.scaled)),
                self.decision.counting.eq(0),
            ]
            with m.If(self.decision.counting):
                table.keep(TableWord.COUNTS)  # of the sample before
            free = self.intake.resting & ~core.samples.valid
            with m.If(into.valid):
                m.next = "SUBTRACT_MEAN"
            with m.Elif(free & core.access.valid & (request.write | ~core.readback.valid)):
                m.d.comb += [self.intake.accessing.eq(1), table.read.addr.eq(self.port.requested)]
                m.next = "ACCESS"
        with m.State("ACCESS"):
            write = table.write
            m.d.comb += [
                core.busy.eq(0),
                self.intake.accessing.eq(1),
                core.access.ready.eq(1),
                write.addr.eq(self.port.requested),
                write.en.eq(request.write & reaches & ~is_tap),
            ]
            with m.If(~request.write):
                m.d.sync += core.readback.valid.eq(1)
                m.d.sync += core.readback.payload.eq(Mux(reaches, table.word, 0))
            bandpass = self.intake.bandpass
            if bandpass is not None:
                m.d.comb += bandpass.write.eq(request.write & reaches & is_tap)
                with m.If(~request.write & reaches & is_tap):
                    m.d.sync += core.readback.payload.eq(bandpass.read_data)
            m.next = "IDLE"

    def average(self) -> None:
        """The averages: the mean m of the samples x, then v, over long, and s of abs(x - m)."""
        m, sample, table = self.m, self.sample, self.table
        subtract, average, below = self.averages.subtract, self.averages.average, self.sample.below
        accumulator, product = self.averages.accumulator, self.decision.product
        with m.State("SUBTRACT_MEAN"):
            table.keep(TableWord.ASIDE)  # x
            subtract()
            m.next = "AVERAGE_MEAN"
        with m.State("AVERAGE_MEAN"):
            average()
            # Whether x < m. It stays so: m comes closer, and never past x.
            m.d.sync += below.eq(~accumulator.value[-1])
            table.fetch(TableWord.ASIDE)
            m.next = "RECTIFY"
        with m.State("RECTIFY"):
            # x - m = x + ~m + 1, or m - x = ~(x + ~m).
            m.d.comb += [
                accumulator.takes.eq(1),
                accumulator.carry.eq(~below),
                accumulator.invert.eq(below),
                accumulator.saturating.eq(1),
            ]
            table.keep(TableWord.MEAN)
            m.d.sync += sample.mean.eq(accumulator.value)
            table.fetch(TableWord.LONG)
            table.fetch_low(TableWord.PARAMETERS + DetectionRow.VARIABILITY_BITS)
            m.next = "SUBTRACT_LONG"
        with m.State("SUBTRACT_LONG"):
            table.keep(TableWord.ASIDE)  # abs(x - m)
            subtract()
            m.next = "AVERAGE_LONG"
        with m.State("AVERAGE_LONG"):
            average()
            table.fetch(TableWord.ASIDE)
            table.fetch_low(TableWord.PARAMETERS + DetectionRow.GAIN)
            m.next = "EXCHANGE"
        with m.State("EXCHANGE"):
            # The long average goes to the product and the table, abs(x - m) comes back.
            table.keep(TableWord.LONG)
            m.d.comb += [product.start.eq(1), accumulator.takes.eq(1), accumulator.alone.eq(1)]
            table.fetch(TableWord.VARIABILITY)
            table.fetch_low(TableWord.PARAMETERS + DetectionRow.SMOOTH_BITS)
            m.next = "SUBTRACT_VARIABILITY"
        with m.State("SUBTRACT_VARIABILITY"):
            subtract()
            m.next = "AVERAGE_VARIABILITY"
        with m.State("AVERAGE_VARIABILITY"):
            average()
            table.fetch(Mux(product.relative, TableWord.NOTHING, TableWord.LEVEL))
            m.next = "COMPARE"

    def decide(self) -> None:
        """The event: all that it takes is gathered while the threshold is multiplied, then compared."""
        m, core, sample, table = self.m, self.core, self.sample, self.table
        frames, accumulator = self.averages.frames, self.averages.accumulator
        decision, product = self.decision, self.decision.product
        count, word = core.parameters.count_format, table.word
        with m.State("COMPARE"):
            # ~s, or ~(s - level) where gain·v is 0: either way it is compared with gain·v.
            table.keep(TableWord.VARIABILITY)
            m.d.comb += accumulator.takes.eq(1)
            m.d.sync += [sample.variability.eq(accumulator.value), sample.level.eq(word)]
            table.fetch(TableWord.PARAMETERS + DetectionRow.SETTLE)
            m.next = "CHECK_SETTLED"
        with m.State("CHECK_SETTLED"):
            m.d.sync += decision.settled.eq(is_less(word[: count.width], frames.inverted))
            table.fetch(TableWord.COUNTS)
            m.next = "COUNT"
        with m.State("COUNT"):
            m.d.sync += [
                decision.was_above.eq(word[count.width]),
                decision.over.eq(decision.recovered),
                decision.ready.eq(decision.can_be),
            ]
            with m.If(decision.can_be):
                table.fetch(TableWord.REFRACTORY)  # for an event; without one nothing changes
            m.next = "MULTIPLY"
            with m.If(product.ends):
                m.next = "DECIDE"
        with m.State("MULTIPLY"), m.If(product.ends):
            m.next = "DECIDE"
        with m.State("DECIDE"):
            event, above, ready = decision.event, decision.above, decision.ready
            m.d.comb += core.events.valid.eq(event)
            with m.If(~event | core.events.ready):
                # COUNTS for the sample after this one: ~(refractory time), 1 more, or as it was.
                m.d.comb += [
                    core.commit.valid.eq(1),
                    accumulator.takes.eq(1),
                    accumulator.alone.eq(1),
                    accumulator.carry.eq(~decision.over),
                    accumulator.invert.eq(event),
                ]
                m.d.sync += [decision.was_above.eq(above), decision.counting.eq(event | ~ready)]
                m.next = "IDLE"


def _address(at: int | Value, electrode: Value) -> Value:
    """Of a word in the electrode's part of the table."""
    return Cat(at if isinstance(at, Value) else Const(at, TABLE_BITS), electrode)

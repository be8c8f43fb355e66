"""Event detection, one walk of a sample through the averages of its electrode, time-multiplexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.fixed import QFormat
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

__all__ = ["Detection", "DetectionTiming", "detection_commit_shapes", "electrode_stream"]

_COUNTED = 12
"""Cycle, after that of the accepted sample, in which all that decides is known, the threshold apart."""
_MULTIPLY = 7
"""Cycle of the first bit of the gain."""


def electrode_stream(electrodes: int) -> stream.Signature:
    """Signature of a stream of events: the ``electrode`` of each."""
    return stream.Signature(data.StructLayout({"electrode": channel_shape(electrodes)}))


def detection_commit_shapes(parameters: DetectionParameters) -> dict[str, Shape]:
    """Shape of every internal signal, by the names of ``golden_model.detection.SIGNALS``, and ``event``."""
    state = parameters.config.formats.detection_state.as_shape()
    return {
        "filtered": state,
        "mean": state,
        "variability": state,
        "threshold": parameters.threshold_format.as_shape(),
        "event": Shape(1),
    }


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


class Detection(DetectionTiming, wiring.Component):
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
    readback : Out(stream of the word)
        Answer to each read, in order, a signed word with its sign in all bits above. A further read waits
        until it is taken.
    commit : Out
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

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        DetectionTiming.__init__(self, config, settings, rate_hz)
        given, electrodes = self.parameters, self.electrodes
        commit = {"valid": Out(1), "electrode": Out(channel_shape(electrodes)), "blanked": Out(1)}
        commit |= {name: Out(shape) for name, shape in detection_commit_shapes(given).items()}
        wiring.Component.__init__(
            self,
            {
                "samples": In(stream.Signature(sample_layout(electrodes, config.formats.sample))),
                "frame": In(1),
                "events": Out(electrode_stream(electrodes)),
                "access": In(stream.Signature(detection_access_layout(given))),
                "readback": Out(stream.Signature(detection_word_width(given))),
                "commit": Out(wiring.Signature(commit)),
                "busy": Out(1),
                "rejected": Out(1),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given, formats, now = self.parameters, self.config.formats, self.commit
        state, count, gain = formats.detection_state, given.count_format, formats.detection_gain
        number = channel_shape(self.electrodes)

        # What comes in: a sample, through the band-pass where there is one, on the scale of the averages.
        request, accessing, resting = self.access.payload, Signal(), Signal()
        known = self.samples.payload.electrode < self.electrodes
        bandpass, into = None, stream.Signature(sample_layout(self.electrodes, given.input_format)).create()
        m.d.comb += resting.eq(1)
        if given.filtered:
            m.submodules.bandpass = bandpass = BandPass(given)
            m.d.comb += [
                bandpass.samples.payload.eq(self.samples.payload),
                bandpass.samples.valid.eq(self.samples.valid & known),
                self.samples.ready.eq(bandpass.samples.ready),
                into.payload.eq(bandpass.filtered.payload),
                into.valid.eq(bandpass.filtered.valid),
                bandpass.filtered.ready.eq(into.ready),
                bandpass.hold.eq(accessing),
                resting.eq(bandpass.idle),
            ]
        else:
            m.d.comb += [
                into.payload.eq(self.samples.payload),
                into.valid.eq(self.samples.valid & known),
                self.samples.ready.eq(into.ready),
            ]
        aligned = QFormat(True, given.input_format.integer_bits, state.fraction_bits)
        value = into.payload.sample.shift_left(given.align)
        scaled = resize(value, aligned, state)

        # One table an electrode, of parameters and state, and behind all of them what they are after reset,
        # a page a distinct setting. Shifts and gain are read beside the rest, from a copy of the low bits.
        width = max(state.width, count.width + 1, detection_word_width(given))
        words, pages = self.initialise_cycles, list(dict.fromkeys(given.settings))
        after_reset = [one for page in pages for one in words_after_reset(given, given.settings.index(page))]
        m.submodules.table = table = memory.Memory(
            shape=width,
            depth=words + len(after_reset),
            init=[0] * words + [one % (1 << width) for one in after_reset],
            attrs={"ram_style": "block"},
        )
        shift_width = given.row_format(DetectionRow.MEAN_BITS).width
        m.submodules.low_table = low_table = memory.Memory(
            shape=max(shift_width, gain.width), depth=words, init=[], attrs={"ram_style": "block"}
        )
        read, write = table.read_port(), table.write_port()
        low_read, low_write = low_table.read_port(), low_table.write_port()
        word, low_word = read.data, low_read.data
        electrode, blanked, below = Signal(number), Signal(), Signal()
        m.d.comb += [
            read.en.eq(0),
            low_read.en.eq(0),
            low_write.addr.eq(write.addr),
            low_write.data.eq(write.data),
            low_write.en.eq(write.en),
        ]

        def fetch(at: int | Value, whose: Value = electrode) -> None:
            m.d.comb += [read.addr.eq(_address(at, whose)), read.en.eq(1)]

        def fetch_low(at: int, whose: Value = electrode) -> None:
            m.d.comb += [low_read.addr.eq(_address(at, whose)), low_read.en.eq(1)]

        def keep(at: int) -> None:
            m.d.comb += [write.addr.eq(_address(at, electrode)), write.en.eq(1)]

        m.submodules.frames = frames = FrameCount(given)
        m.submodules.accumulator = accumulator = Accumulator(given, width)
        m.submodules.product = product = GainProduct(given, accumulator.work)
        m.d.comb += [
            frames.frame.eq(self.frame),
            accumulator.word.eq(word),
            accumulator.sample.eq(scaled),
            product.gain.eq(low_word),
            product.factor.eq(accumulator.value),
        ]

        # The shift of the second half of an average, 0 in any other cycle. A table says what is too large.
        shift, warming, excess = low_word[:shift_width], Signal(), Const(0, 1)
        too_large = sum(1 << number for number in range(given.most_bits + 1, 1 << shift_width))
        limited = Mux(Const(too_large, 1 << shift_width).bit_select(shift, 1), given.most_bits, shift)
        for mine, other in zip(limited, frames.log2, strict=True):
            excess = Mux(mine == other, excess, mine)  # limited > frames.log2; a carry chain would be larger
        m.d.sync += accumulator.bits.eq(0)

        def subtract() -> None:
            m.d.comb += accumulator.takes.eq(1)
            m.d.sync += accumulator.bits.eq(Mux(warming & excess, frames.log2, limited))

        def average() -> None:
            m.d.comb += [
                accumulator.takes.eq(1),
                accumulator.alone.eq(blanked),
                accumulator.rounding.eq(~blanked),
            ]

        # For `commit` only.
        filtered, mean, variability, level = (
            Signal(state.as_shape(), name=name) for name in ("filtered", "mean", "variability", "level")
        )

        # The decision. COUNTS holds ~(refractory time) after an event, then 1 more a sample, until -2 or -1,
        # all ones but the last bit. In the bit above is whether s was above the threshold.
        settled, over, was_above, ready = Signal(), Signal(), Signal(), Signal()
        above, event, counting = Signal(), Signal(), Signal()
        recovered = word[1 : count.width].all()
        can_be = recovered & settled & ~word[count.width]
        m.d.comb += [
            above.eq(Mux(blanked, was_above, is_less(product.threshold, accumulator.value))),
            event.eq(above & ready),
            now.electrode.eq(electrode),
            now.blanked.eq(blanked),
            now.filtered.eq(filtered),
            now.mean.eq(mean),
            now.variability.eq(variability),
            now.threshold.eq(Mux(product.relative, product.threshold, level)),
            now.event.eq(event),
            self.events.payload.electrode.eq(electrode),
        ]

        # What is written: the accumulator, or a parameter while that is 0, in the format of its row: what is
        # beyond is dropped.
        exists = Cat(request.row == row for row in given.rows).any()
        reaches = (request.electrode < self.electrodes) & exists
        is_tap = request.row >= DetectionRow.FIRST_B0
        requested = _address(TableWord.PARAMETERS | request.row[: TABLE_BITS - 1], request.electrode)
        fitted: Value = Const(0, len(request.word))
        for fmt in dict.fromkeys(given.row_format(row) for row in given.rows):
            of_format = Cat(request.row == row for row in given.rows if given.row_format(row) == fmt)
            cut = request.word[: fmt.width]
            fitted |= Mux(of_format.any(), cut.as_signed() if fmt.signed else cut, 0)
        m.d.comb += write.data.eq(accumulator.value | Mux(self.access.ready, fitted, 0))
        with m.If(counting):
            m.d.comb += write.data[count.width].eq(was_above)

        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)
        with m.If((self.access.ready & ~reaches) | (self.samples.valid & self.samples.ready & ~known)):
            m.d.sync += self.rejected.eq(1)
        cleared = Signal(range(self.initialise_cycles))
        if bandpass is not None:
            m.d.comb += [
                bandpass.address.eq(Cat(request.row[:TABLE_BITS], request.electrode)),
                bandpass.write_data.eq(request.word[: formats.filter_coefficient.width].as_signed()),
            ]

        m.d.comb += [self.busy.eq(1)]
        with m.FSM():
            with m.State("INITIALISE"):
                # A word is read, comes through the accumulator, and is written, all in every cycle.
                first = words >> TABLE_BITS
                page = Array(first + pages.index(one) for one in given.settings)[cleared[TABLE_BITS:]]
                m.d.comb += [
                    read.addr.eq(Cat(cleared[:TABLE_BITS], page)),
                    read.en.eq(1),
                    accumulator.takes.eq(1),
                    accumulator.alone.eq(1),
                    write.addr.eq(cleared),
                    write.en.eq(1),
                ]
                if bandpass is not None:
                    m.d.comb += [bandpass.clear.eq(1), bandpass.address.eq(cleared)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [
                    self.busy.eq(~resting),
                    into.ready.eq(1),
                    accumulator.takes.eq(1),
                    accumulator.sampling.eq(1),
                    accumulator.alone.eq(1),
                    accumulator.clear.eq(~into.valid),
                ]
                fetch(TableWord.MEAN, into.payload.electrode)
                fetch_low(TableWord.PARAMETERS + DetectionRow.MEAN_BITS, into.payload.electrode)
                m.d.sync += [
                    electrode.eq(into.payload.electrode),
                    blanked.eq(into.payload.blanked),
                    filtered.eq(Mux(into.payload.blanked, 0, scaled)),
                    counting.eq(0),
                ]
                with m.If(counting):
                    keep(TableWord.COUNTS)  # of the sample before
                with m.If(into.valid):
                    m.next = "SUBTRACT_MEAN"
                with m.Elif(
                    resting & ~self.samples.valid & self.access.valid & (request.write | ~self.readback.valid)
                ):
                    m.d.comb += [accessing.eq(1), read.addr.eq(requested)]
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [
                    self.busy.eq(0),
                    accessing.eq(1),
                    self.access.ready.eq(1),
                    write.addr.eq(requested),
                    write.en.eq(request.write & reaches & ~is_tap),
                ]
                with m.If(~request.write):
                    m.d.sync += [self.readback.valid.eq(1), self.readback.payload.eq(Mux(reaches, word, 0))]
                if bandpass is not None:
                    m.d.comb += bandpass.write.eq(request.write & reaches & is_tap)
                    with m.If(~request.write & reaches & is_tap):
                        m.d.sync += self.readback.payload.eq(bandpass.read_data)
                m.next = "IDLE"
            with m.State("SUBTRACT_MEAN"):
                keep(TableWord.ASIDE)  # x
                subtract()
                m.next = "AVERAGE_MEAN"
            with m.State("AVERAGE_MEAN"):
                average()
                # Whether x < m. It stays so: m comes closer, and never past x.
                m.d.sync += below.eq(~accumulator.value[-1])
                fetch(TableWord.ASIDE)
                m.next = "RECTIFY"
            with m.State("RECTIFY"):
                # x - m = x + ~m + 1, or m - x = ~(x + ~m).
                m.d.comb += [
                    accumulator.takes.eq(1),
                    accumulator.carry.eq(~below),
                    accumulator.invert.eq(below),
                    accumulator.saturating.eq(1),
                ]
                keep(TableWord.MEAN)
                m.d.sync += mean.eq(accumulator.value)
                fetch(TableWord.LONG)
                fetch_low(TableWord.PARAMETERS + DetectionRow.VARIABILITY_BITS)
                m.next = "SUBTRACT_LONG"
            with m.State("SUBTRACT_LONG"):
                keep(TableWord.ASIDE)  # abs(x - m)
                m.d.comb += warming.eq(1)
                subtract()
                m.next = "AVERAGE_LONG"
            with m.State("AVERAGE_LONG"):
                average()
                fetch(TableWord.ASIDE)
                fetch_low(TableWord.PARAMETERS + DetectionRow.GAIN)
                m.next = "EXCHANGE"
            with m.State("EXCHANGE"):
                keep(TableWord.LONG)
                m.d.comb += [product.start.eq(1), accumulator.takes.eq(1), accumulator.alone.eq(1)]
                fetch(TableWord.VARIABILITY)
                fetch_low(TableWord.PARAMETERS + DetectionRow.SMOOTH_BITS)
                m.next = "SUBTRACT_VARIABILITY"
            with m.State("SUBTRACT_VARIABILITY"):
                subtract()
                m.next = "AVERAGE_VARIABILITY"
            with m.State("AVERAGE_VARIABILITY"):
                average()
                fetch(Mux(product.relative, TableWord.NOTHING, TableWord.LEVEL))
                m.next = "COMPARE"
            with m.State("COMPARE"):
                # ~s, or ~(s - level) where gain·v is 0: either way it is compared with gain·v.
                keep(TableWord.VARIABILITY)
                m.d.comb += accumulator.takes.eq(1)
                m.d.sync += [variability.eq(accumulator.value), level.eq(word)]
                fetch(TableWord.PARAMETERS + DetectionRow.SETTLE)
                m.next = "CHECK_SETTLED"
            with m.State("CHECK_SETTLED"):
                m.d.sync += settled.eq(is_less(word[: count.width], frames.inverted))
                fetch(TableWord.COUNTS)
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [was_above.eq(word[count.width]), over.eq(recovered), ready.eq(can_be)]
                with m.If(can_be):
                    fetch(TableWord.REFRACTORY)  # for an event; without one nothing changes
                m.next = "MULTIPLY"
                with m.If(product.ends):
                    m.next = "DECIDE"
            with m.State("MULTIPLY"), m.If(product.ends):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += self.events.valid.eq(event)
                with m.If(~event | self.events.ready):
                    m.d.comb += [
                        now.valid.eq(1),
                        accumulator.takes.eq(1),
                        accumulator.alone.eq(1),
                        accumulator.carry.eq(~over),
                        accumulator.invert.eq(event),
                    ]
                    m.d.sync += [was_above.eq(above), counting.eq(event | ~ready)]
                    m.next = "IDLE"
        return m


def _address(at: int | Value, electrode: Value) -> Value:
    return Cat(at if isinstance(at, Value) else Const(at, TABLE_BITS), electrode)

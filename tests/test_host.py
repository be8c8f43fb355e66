"""The host library: against a chip in software, over a cable on which anything can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fake_device import (
    CONFIG,
    OTHER,
    RECALIBRATED,
    SET_UP_S,
    TWO,
    Cable,
    FakeDevice,
    connect,
    session_of,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from microzone.gateware.link.frames import Record, RecordKind
from microzone.gateware.registers.file import CAPACITY
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import ChipConfig
from microzone.golden_model.config import ConfigError
from microzone.golden_model.files import FileError
from microzone.golden_model.recalibration import coefficient_words
from microzone.golden_model.stimulation import StimulationTiming
from microzone.tools.host import link as host_link
from microzone.tools.host import parameters as host_parameters
from microzone.tools.host import session as host_session
from microzone.tools.host.chip import Host, LinkError
from microzone.tools.host.parameters import Weights, check_loadable, parameter_groups
from microzone.tools.host.recording import StepCount
from support import applying, changed

# --- identification -------------------------------------------------------------------------------


def test_a_chip_says_what_it_is() -> None:
    found = connect(FakeDevice(TWO)).check_built()
    assert (found.version, found.circuits, found.electrodes) == ("0.1.0", 2, 4)
    assert found.digest == TWO.digest and found.clock_hz == 24_000_000
    assert not found.recalibration and not found.bandpass


def test_another_configuration_is_noticed() -> None:
    host = Host(FakeDevice(TWO), CONFIG)
    assert host.identify().digest == TWO.digest
    with pytest.raises(LinkError, match=rf"built with configuration {TWO.digest[:12]}, not "):
        host.check_built()


def test_what_is_no_microzone_is_refused() -> None:
    device = FakeDevice(CONFIG)
    with (
        mock.patch.object(device, "_control", lambda name: 0x12345678),
        pytest.raises(LinkError, match="what answers is no microzone: its MAGIC is 0x12345678"),
    ):
        connect(device).identify()


@pytest.mark.parametrize("noise", [b"", b"OK\r\n", bytes(range(256)), b"\x7e" * 40])
def test_what_does_not_answer_is_refused(noise: bytes) -> None:
    class Deaf(FakeDevice):
        def _execute(self, payload: bytes) -> None:
            self._travel(self.outgoing, noise or b"\x7e")

    device = Deaf(CONFIG)
    with pytest.raises(LinkError, match="no answer in 5 attempts of 50 ms"):
        connect(device).identify()
    assert device.time == pytest.approx(0.25, abs=0.01)


# --- registers ------------------------------------------------------------------------------------


def test_registers_by_name_field_and_value() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    assert host.read("control.MAGIC") == 0x6D7A6F6E
    assert host.read_fields("control.SHADOW") == {"waiting": 0, "capacity": CAPACITY}
    host.write_fields("control.TELEMETRY", mask=0x1234)
    assert device.mask == 0x1234 and host.read("control.TELEMETRY") == 0x1234
    assert host.value("circuits[0].WEIGHT") == pytest.approx(0.28, abs=2**-32)
    assert host.value("stimulation.PULSES") == 12
    assert host.value("electrodes[0].GAIN") == 3.75


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda host: host.read("circuits[1].WEIGHT"), r"register 'circuits\[1\].WEIGHT': the chip has none"),
        (lambda host: host.write("control.STEPS", 1), "write of 1 words at control.STEPS: BAD_ADDRESS"),
        (lambda host: host.read("control.COMMAND"), "read of 1 words at control.COMMAND: BAD_ADDRESS"),
        (lambda host: host.read_many(0x3002, 2), "read of 2 words at address 0x3002: BAD_ADDRESS"),
        (lambda host: host.write_fields("control.CONTROL", speed=1), "control.CONTROL: no field 'speed'"),
        (lambda host: host.write_fields("control.CONTROL", enable=2), "CONTROL.enable = 2: limit is 1"),
        (lambda host: host.arm(), "does not arm: AMPLIFIER"),
    ],
)
def test_what_the_chip_refuses_is_one_line(act: Any, message: str) -> None:
    host = connect(FakeDevice(CONFIG))
    with pytest.raises(LinkError, match=message) as refused:
        act(host)
    assert "\n" not in str(refused.value)
    assert host.read("control.MAGIC") == 0x6D7A6F6E, "the link goes on"


def test_long_bursts_are_divided() -> None:
    device = FakeDevice(TWO)
    words = connect(device).read_words(device.map.registers.keys() - {"control.COMMAND"})
    assert len(words) == len(device.map.registers) - 1
    assert words["electrodes[3].REFRACTORY"] == 1250
    longest = max(request[2] for request in [(0, 0, 0)] + [(0, 0, len(w)) for *_, w in device.executed])
    assert longest <= 32
    host = connect(device)
    run = host.register("circuits[0].WEIGHT").address
    with pytest.raises(LinkError, match="BAD_ADDRESS"):
        host.read_many(run, 40)  # further than the parameters reach


# --- the cable ------------------------------------------------------------------------------------


def test_a_lost_reply_does_not_repeat_the_write() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.identify()
    path, address = "circuits[0].POTENTIATION", host.register("circuits[0].POTENTIATION").address
    with mock.patch.object(device, "_reply"):  # executed, but nothing comes back
        with pytest.raises(LinkError, match="no answer"):
            host.write(path, 7)
        assert [request[2] for request in device.executed].count(address) == 1
    assert host.repeated == 4 and device.shadow == [(path, 7)]


def test_a_write_after_a_failure_never_passes_for_its_repetition() -> None:
    """Numbers of requests that nobody heard are used up, and come round to the last one that was."""
    device = FakeDevice(CONFIG)
    host = connect(device, retries=0)
    host.identify()
    host.write("control.TELEMETRY", 1)
    device.cable.drop = 1.0
    for _ in range(255):
        with pytest.raises(LinkError):
            host.write("control.TELEMETRY", 2)
    device.cable.drop = 0.0
    host.write("control.TELEMETRY", 3)
    assert device.mask == 3


def test_the_first_write_of_a_host_never_passes_for_a_repetition() -> None:
    device = FakeDevice(CONFIG)
    for word in range(1, 6):
        connect(device).write("control.TELEMETRY", word)
        assert device.mask == word


def test_late_replies_are_not_taken_for_others() -> None:
    device = FakeDevice(CONFIG, cable=Cable(delay=0.3), seed=5)
    host = connect(device, retries=8)
    for word in range(60):
        host.write("control.TELEMETRY", word)
        assert host.read("control.TELEMETRY") == word == device.mask
        assert host.read("control.MAGIC") == 0x6D7A6F6E
    assert host.repeated > 20


def test_an_unplugged_cable_and_a_replugged_one() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.identify()
    device.cable.fail_after = 60  # in the middle of a frame of 32 words
    with pytest.raises(LinkError, match="pulled"):
        host.write_many(host.register("stimulation.PERIOD").address, list(range(10)) * 4)
    with pytest.raises(LinkError, match="no device"):
        host.read("control.MAGIC")
    device.cable.plugged = True
    assert host.read_fields("control.SHADOW")["waiting"] == 0 == len(device.shadow)
    host.load(CONFIG.replace(**OTHER))


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_request_cut_off_by_the_cable_is_not_completed_by_the_next_one(cut: int) -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.identify()
    device.cable.fail_after = cut  # of 13 bytes at least, the last a flag
    with pytest.raises(LinkError, match="pulled"):
        for _ in range(2):
            host.command("commit")
    before = device.commits
    device.cable.plugged = True
    host.identify()
    assert device.commits == before == int(cut == 13)


def test_heartbeats_keep_the_chip_armed_and_their_absence_disarms_it() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.enable()
    host.arm()
    for _ in range(200):
        host.poll(0.05)
        assert device.armed
    assert device.time > 9
    device.read(1.1)  # nobody polls
    assert not device.armed and device.fault is InterlockFault.WATCHDOG
    host.poll(0.0)
    assert not device.armed, "a heartbeat does not arm"
    host.arm()
    host.close()
    assert not device.armed and device.fault is InterlockFault.NONE and device.closed


def test_a_front_end_that_does_not_come_up() -> None:
    device = FakeDevice(CONFIG)
    device.absent = True
    with pytest.raises(LinkError, match="the front end does not come up: ABSENT"):
        connect(device).enable()
    assert device.time < 10 * SET_UP_S


State = tuple[dict[str, int], tuple[tuple[str, int], ...]]
"""Registers, and words that wait."""


class OverABadCable(RuleBasedStateMachine):
    """Whatever the cable does: what the host was told is done is done, once; and nothing else is.

    Of a request without an answer, and of a burst in part, either may be: as it was before, or as after some
    or all of its words. Nothing but LinkError comes out; and once the cable is good, everything works.
    """

    PATHS = ("control.TELEMETRY", "stimulation.PERIOD", "circuits[0].DEPRESSION", "circuits[1].WEIGHT",
             "electrodes[3].REFRACTORY", "electrodes[1].GAIN")  # fmt: skip
    CAPACITY = 10

    def __init__(self) -> None:
        super().__init__()
        self.device = FakeDevice(TWO, capacity=self.CAPACITY)
        self.host = connect(self.device, retries=3, timeout_s=0.02)
        self.host.identify()
        self.state = self.observed()

    def observed(self) -> State:
        words = {path: self.device._parameter(path) for path in self.PATHS[1:]}
        return {"control.TELEMETRY": self.device.mask, **words}, tuple(self.device.shadow)

    def attempt(self, act: Callable[[], Any], *after: State) -> Any:
        """Do something that leads, over states in between, to the last of these."""
        try:
            answer, possible = act(), (after or (self.state,))[-1:]
        except LinkError as error:
            assert "\n" not in str(error) and "MAGIC" not in str(error)
            self.device.arrive()
            answer, possible = error, (self.state, *after)
        assert self.observed() in possible
        self.state = self.observed()
        return answer

    @rule(path=st.sampled_from(PATHS))
    def read(self, path: str) -> None:
        word = self.attempt(lambda: self.host.read(path))
        assert isinstance(word, LinkError) or word == self.state[0][path]

    @rule(word=st.integers(0, 0xFFFF))
    def write_at_once(self, word: int) -> None:
        live, shadow = self.state
        after = {**live, "control.TELEMETRY": word}, shadow
        self.attempt(lambda: self.host.write("control.TELEMETRY", word), after)

    @rule(path=st.sampled_from(PATHS[1:]), word=st.integers(0, 255), more=st.integers(0, 2))
    def write_to_the_shadow(self, path: str, word: int, more: int) -> None:
        first, (live, shadow) = self.host.register(path).address, self.state
        burst = [self.host.registers.by_address.get(first + 4 * i) for i in range(more + 1)]
        words = [(register.path, word + i) for i, register in enumerate(burst) if register]
        high = self.device.level_high << 32  # of a LEVEL, written before: not a word that waits
        waiting = [
            (path, word | high if path.endswith(".LEVEL") else word)
            for path, word in words
            if not path.endswith(".LEVEL_HIGH")
        ]
        room = self.CAPACITY - len(shadow)
        after = [(live, (*shadow, *waiting[:n])) for n in range(1, min(len(waiting), room) + 1)]
        answer = self.attempt(lambda: self.host.write_many(first, [w for _, w in words]), *after)
        if len(waiting) > room:
            assert isinstance(answer, LinkError)

    @rule()
    def discard(self) -> None:
        self.attempt(lambda: self.host.command("discard"), (self.state[0], ()))

    @rule()
    def commit(self) -> None:
        commits, (live, shadow) = self.device.commits, self.state
        answer = self.attempt(self.host.commit, ({**live, **{p: w for p, w in shadow if p in live}}, ()))
        assert self.device.commits - commits in ((0, 1) if isinstance(answer, LinkError) else (1,))

    @rule(
        drop=st.sampled_from([0.0, 0.2, 1.0]), corrupt=st.sampled_from([0.0, 0.3]),
        truncate=st.sampled_from([0.0, 0.3]), duplicate=st.sampled_from([0.0, 0.5]),
        delay=st.sampled_from([0.0, 0.3]),
    )  # fmt: skip
    def trouble(self, **chances: float) -> None:
        for name, chance in chances.items():
            setattr(self.device.cable, name, chance)

    @rule(after=st.integers(0, 60))
    def pull_in_mid_burst(self, after: int) -> None:
        self.device.cable.fail_after = after

    @rule()
    def repair(self) -> None:
        self.device.cable = Cable()

    @rule(seconds=st.sampled_from([0.001, 0.05]))
    def records_come_in_between(self, seconds: float) -> None:
        self.device.mask |= 1 << RecordKind.STATE
        self.state = self.observed()
        self.device._say_state()
        self.attempt(lambda: self.host.poll(seconds))

    def teardown(self) -> None:
        self.repair()
        wanted = TWO.replace(**OTHER)
        self.device.capacity = CAPACITY
        self.host.load(wanted, weights=True)
        assert self.device.words == FakeDevice(wanted).words


TestOverABadCable = OverABadCable.TestCase
TestOverABadCable.settings = settings(max_examples=50, stateful_step_count=40)


# --- telemetry ------------------------------------------------------------------------------------


def test_records_wait_for_their_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 300), cable=Cable(latency_s=2e-3))
    host = connect(device)
    host.report(*host_session.EVERYTHING)
    host.enable()
    while device.steps < 200:
        host.read("control.STEPS")
    assert len(host._records) > 50
    records = host.poll(0.0)
    assert [record.sequence for record in records] == [n % 256 for n in range(len(records))]
    assert host.missing == host.overflowed == 0 and host.poll(0.0) == []
    monkeypatch.setattr(host_link, "_QUEUE", 5)
    while device.steps < 250:
        host.read("control.STEPS")
    assert len(host.poll(0.0)) == 5 and host.overflowed > 3 and host.missing == 0


def test_records_that_the_wire_loses_are_counted() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    host.report(RecordKind.STEP)
    for lost in (0, 3, 0, 254):
        before = host.missing
        device.sequence = (device.sequence + lost) % 256
        device._say(RecordKind.STEP)
        assert len(host.poll(0.1)) == 1
        assert host.missing - before == (lost if device.sequence != 1 else 0)
    assert host.missing == 257


@pytest.mark.parametrize("start", [0, 65_530, 5 * 65_536 + 3])
def test_steps_of_records_are_counted_beyond_their_bits(start: int) -> None:
    count, rng, now = StepCount(start), np.random.default_rng(start), start
    for number in range(500):
        now += int(rng.integers(0, 16_384))
        at = now - int(rng.integers(0, 2)) if now > start + 1 else now  # nearly in order
        if number % 50 == 49:
            now = at = now + 200_000  # lost ones: the next TIME puts it right
            told = Record(0, RecordKind.TIME, 0, 0, at % 65_536, at >> 16)
        else:
            told = Record(0, RecordKind.STEP, 0, 0, at % 65_536, 99)
        assert count.of(told) == at


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [CONFIG, RECALIBRATED, TWO], ids=["one", "recalibrated", "two"])
@pytest.mark.parametrize("capacity", [CAPACITY, 18])
def test_load_writes_every_word_and_reads_it_back(base: ChipConfig, capacity: int) -> None:
    other = dict(OTHER)
    if base.recalibration.enabled:
        other["recalibration"] = {"alpha": (2.0, 0.25, 0.1), "beta": (5e4, 2e3, 20.0), "gamma": (900.0, -5.0)}
    wanted = base.replace(**other)
    device = FakeDevice(base, capacity=capacity)
    assert connect(device).load(wanted) is True
    timing, again = StimulationTiming(wanted).settings, FakeDevice(wanted)
    assert device.words == again.words and device.words["stimulation.PERIOD"] == timing.period
    np.testing.assert_array_equal(device.circuits.potentiation, again.circuits.potentiation)
    np.testing.assert_array_equal(device.circuits.depression, again.circuits.depression)
    np.testing.assert_array_equal(device.circuits.weight, FakeDevice(base).circuits.weight)
    assert device.commits == (1 if capacity == CAPACITY and base is not TWO else device.commits)
    if base.recalibration.enabled:
        assert (
            device.words["circuits[0].GAMMA_1"]
            == coefficient_words(wanted.recalibration.coefficients, wanted)[9]
        )
        paths = [path for _, operation, address, words in device.executed if operation == 2
                 for path in [device.map.by_address[address + 4 * i].path for i in range(len(words))]]  # fmt: skip
        circuit = [path for path in paths if path.startswith("circuits[0]")]
        assert circuit[-1] == "circuits[0].GAMMA_EXPONENT", "it makes the set whole"


def test_detection_comes_first_and_wide_levels_from_the_top() -> None:
    groups = parameter_groups(CONFIG.replace(**OTHER))
    paths = [word.path for group in groups for word in group]
    assert paths.index("stimulation.PERIOD") > max(
        paths.index(p) for p in paths if p.startswith("electrodes")
    )
    assert paths.index("electrodes[1].LEVEL_HIGH") == paths.index("electrodes[1].LEVEL") - 1
    device = FakeDevice(CONFIG)
    connect(device).load(CONFIG.replace(detection={"io": {"threshold": 1e5, "relative": False}}))
    assert device.words["electrodes[1].LEVEL"] == 100_000 << 20


def test_w_is_loaded_where_it_is_asked_for() -> None:
    device = FakeDevice(CONFIG)
    wanted = CONFIG.replace(weight={"initial": 0.75})
    connect(device).load(wanted)
    assert device.circuits.weight[0] == CONFIG.quantised.weight_initial
    connect(device).load(wanted, weights=True)
    assert device.circuits.weight[0] == 3 << 30


def test_a_word_that_does_not_stay_is_noticed() -> None:
    device = FakeDevice(CONFIG)
    commit = device._commit

    def forgetful() -> None:
        commit()
        device.words["stimulation.GAP"] ^= 4

    with (
        mock.patch.object(device, "_commit", forgetful),
        pytest.raises(LinkError, match=r"register stimulation.GAP = 0x\w+: should be 0x\w+"),
    ):
        connect(device).load(CONFIG.replace(**OTHER))


def test_a_late_commit_is_told() -> None:
    device = FakeDevice(CONFIG)
    device.next_late = True
    assert connect(device).load(CONFIG) is False
    assert connect(device).load(CONFIG) is True


def test_a_shadow_that_another_host_has_left_is_emptied() -> None:
    device = FakeDevice(CONFIG)
    first = connect(device)
    first.write("circuits[0].WEIGHT", *[1, 2, 3])
    assert len(device.shadow) == 3
    connect(device).load(CONFIG)
    assert device.circuits.weight[0] == CONFIG.quantised.weight_initial


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": {"step_s": 0.001}}, "time.step_s = 0.001: the chip is built with 0.002, which no register"),
        ({"trace": {"end": 0.4}}, "trace.end = 0.4: the chip is built with 0.47"),
        ({"noi": {"delay_s": 0.05}}, "noi.delay_s = 0.05: the chip is built with 0.1"),
        ({"threshold": {"level": 0.2}}, "threshold.level = 0.2"),
        ({"formats": {"trace": "UQ(1,19)"}}, r"formats.trace = UQ\(1,19\): the chip is built with UQ\(1,20\)"),
        ({"stimulation": {"limits": {"rate_hz": 100.0}}}, "stimulation.limits.rate_hz = 100.0: .* 200.0"),
        ({"stimulation": {"watchdog_s": 2.0}}, "stimulation.watchdog_s = 2.0: the chip is built with 1.0"),
        ({"amplifier": {"offset_removal_hz": 1.0}}, "amplifier.offset_removal_hz = 1.0: .* absent"),
        ({"recalibration": {"period_s": 100.0}}, "recalibration.period_s = 100.0: the chip is built with 150"),
        ({"detection": {"io": {"bandpass_hz": (300.0, 3000.0)}}}, "detection bandpass_hz: the chip has no band"),
        ({"detection": {"io": {"settle_s": 60.0}}}, "detection settle_s = 60: 1500000 samples, limit of the"),
        ({"stimulation": {"duration_s": 0.6}}, "stimulation.duration_s.*limit is"),
    ],
)  # fmt: skip
def test_what_no_register_changes_is_refused(change: dict[str, Any], message: str) -> None:
    device = FakeDevice(CONFIG)
    with pytest.raises(ConfigError, match=message):
        connect(device).load(CONFIG.replace(**change))
    assert not device.executed, "nothing is written"


def test_every_field_is_either_loaded_or_refused() -> None:
    """A field that changes and is allowed changes a word, or is one that no word depends on."""
    changes: dict[str, Any] = {
        "plasticity.potentiation": 5e-5, "plasticity.depression": 0.02,
        "detection.pn.threshold": 3.0, "detection.io.threshold": 3.0,
        "detection.pn.mean_tau_s": 0.2, "detection.pn.smooth_tau_s": 0.005,
        "detection.pn.variability_tau_s": 5.0, "detection.pn.refractory_s": 0.02, "detection.pn.settle_s": 0.2,
        "stimulation.rate_hz": 90.0, "stimulation.width_s": 2e-4, "stimulation.duration_s": 0.2,
        "stimulation.shape": "monophasic", "stimulation.interphase_s": 1e-4,
        "blanking.mode": "none", "blanking.fixed_s": 1.0, "blanking.guard_before_s": 1e-4,
        "blanking.guard_after_s": 1e-3,
    }  # fmt: skip

    def words(config: ChipConfig) -> dict[str, int]:
        return {word.path: word.word for group in parameter_groups(config) for word in group}

    before = words(CONFIG)
    for path, value in changes.items():
        section, *inner, field = path.split(".")
        change = {field: value}
        for name in reversed(inner):
            change = {name: {**getattr(getattr(CONFIG, section), name).model_dump(), **change}}
        wanted = CONFIG.replace(**{section: change})
        check_loadable(CONFIG, wanted)
        assert words(wanted) != before, path


# --- what the microcircuits have learnt -----------------------------------------------------------


def test_weights_survive_a_power_cycle(tmp_path: Path) -> None:
    device = FakeDevice(TWO)
    device.circuits.weight[:] = [123_456_789, 4_294_967_295]
    device.circuits.potentiation[:] = [5, 6]
    device.circuits.depression[1] = 77
    connect(device).weights().save(tmp_path / "w.toml")
    device.power_up()
    assert device.circuits.weight[0] == TWO.quantised.weight_initial
    connect(device).restore(Weights.load(tmp_path / "w.toml"))
    assert device.circuits.weight.tolist() == [123_456_789, 4_294_967_295]
    assert device.circuits.potentiation.tolist() == [5, 6]
    assert device.circuits.depression.tolist() == [TWO.quantised.depression, 77]


def test_weights_of_another_chip_are_refused(tmp_path: Path) -> None:
    saved = connect(FakeDevice(CONFIG)).weights()
    other = CONFIG.replace(threshold={"level": 0.2})
    with pytest.raises(FileError, match=f"configuration {CONFIG.digest[:12]}, not {other.digest[:12]}"):
        connect(FakeDevice(other)).restore(saved)
    connect(FakeDevice(other)).restore(saved, other_config=True)
    with pytest.raises(FileError, match="of 1 microcircuits, the chip has 2"):
        connect(FakeDevice(TWO)).restore(saved, other_config=True)
    narrow = ChipConfig.make(
        formats={"weight": "UQ(0,31)", "potentiation": "UQ(0,31)", "depression": "UQ(0,31)"}
    )
    with pytest.raises(FileError, match="weights in formats"):
        connect(FakeDevice(narrow)).restore(saved, other_config=True)


def test_a_running_chip_keeps_its_weights() -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    saved = host.weights()
    host.enable()
    with pytest.raises(LinkError, match="running and learns"):
        host.restore(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("weight = [", "weight = [0.5, "), r"words.weight\[0\] = 0.5: no raw word"),
        (("weight = [", "weight = [4294967296, "), r"words.weight\[0\] = 4294967296: no raw word of UQ\(0,32\)"),
        (("weight = [", "weight = [1, "), "as many entries each"),
        (("UQ(0,32)", "UQ(zero)"), "is not a format"),
        (("weight = ", "wait = "), "must have weight, potentiation, depression"),
        (("config_sha256 = ", "digest = "), "config_sha256: must be text"),
        (("[words]", "[words"), "w.toml: "),
    ],
)  # fmt: skip
def test_a_damaged_file_of_weights_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "w.toml"
    connect(FakeDevice(CONFIG)).weights().save(path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(FileError, match=message) as refused:
        Weights.load(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(FileError, match=r"no\.toml: No such file"):
        Weights.load(tmp_path / "no.toml")


# --- broken on purpose ----------------------------------------------------------------------------

LINK_MUTANTS = applying({
    "a repetition is a new request": (
        "self.repeated += attempt > 0", "self.repeated += attempt > 0; self._sequence += attempt > 0; frame = encode(Request(self._sequence % 256, operation, address, count, words).payload())", "_attempt", test_late_replies_are_not_taken_for_others,
    ),
    "any reply will do": (
        "reply.sequence != self._sequence or reply", "reply", "_attempt", test_late_replies_are_not_taken_for_others,
    ),
    "no read before the first write": (
        "if not self._in_step:", "if False:", "_request", test_the_first_write_of_a_host_never_passes_for_a_repetition,
    ),
    "no read after a failure": (
        "in_step, self._in_step = self._in_step, False", "in_step = self._in_step", "_attempt", test_a_write_after_a_failure_never_passes_for_its_repetition,
    ),
    "no more than one attempt": (
        "range(self.retries + 1)", "range(1)", "_attempt", test_late_replies_are_not_taken_for_others,
    ),
    "bursts of any length": (
        "min(count - len(words), MAX_WORDS)", "count - len(words)", "read_many", test_long_bursts_are_divided,
    ),
    "gaps are off by one": (
        "self._last_record - 1)", "self._last_record)", "_follow", test_records_that_the_wire_loses_are_counted,
    ),
}, host_link)  # fmt: skip


@pytest.mark.parametrize("name", LINK_MUTANTS)
def test_a_broken_link_is_found(name: str) -> None:
    old, new, method, check = LINK_MUTANTS[name]
    other = changed(host_link, old, new)
    broken = getattr(other.HostLink, method)
    # The copy raises its own class of error; what is looked for is a wrong answer.
    with (
        mock.patch.object(host_link.HostLink, method, broken),
        mock.patch.object(other, "LinkError", LinkError),
        pytest.raises((AssertionError, LinkError, ValueError)),
    ):
        check()


PARAMETER_MUTANTS = applying({
    "the top of a wide level comes last": (
        'if row is DetectionRow.LEVEL and width > WORD_BITS:', 'if False:', lambda: test_detection_comes_first_and_wide_levels_from_the_top(),
    ),
    "negative coefficients lose their sign": (
        "return word & ((1 << WORD_BITS) - 1)", "return abs(word) & ((1 << WORD_BITS) - 1)",
        lambda: test_load_writes_every_word_and_reads_it_back(RECALIBRATED, CAPACITY),
    ),
    "w is always written": (
        "if parameter not in without:", "if True:", lambda: test_w_is_loaded_where_it_is_asked_for()
    ),
}, host_parameters)  # fmt: skip


@pytest.mark.parametrize("name", PARAMETER_MUTANTS)
def test_broken_words_are_found(name: str) -> None:
    old, new, check = PARAMETER_MUTANTS[name]
    other = changed(host_parameters, old, new)
    with (
        mock.patch("microzone.tools.host.chip.parameter_groups", other.parameter_groups),
        mock.patch(f"{__name__}.parameter_groups", other.parameter_groups),
        pytest.raises((AssertionError, LinkError, ValueError)),
    ):
        check()

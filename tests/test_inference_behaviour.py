"""Behaviour as statistics, boxes of parameters, tables of simulations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, ConfigError, Events, FileError, MicrocircuitFixed
from microzone.golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY, Protocol, Trial
from microzone.golden_model.inference import behaviour as module
from microzone.golden_model.inference.behaviour import (
    NAMES,
    STATISTICS,
    VARIANTS,
    Experiment,
    behaviour,
    conditioned,
    energy,
)
from microzone.golden_model.inference.parameters import CHIP, PARAMETERS, WORDS, ParameterSpace
from microzone.golden_model.inference.simulations import Table, simulate
from support import applying, changed

CONFIG = ChipConfig.make()
SHORT = Experiment(paired=25, cs_alone=15, unpaired=10)


def index(name: str) -> int:
    return NAMES.index(name)


# --- statistics of a hand-made session --------------------------------------------------------

# 50 paired trials and 45 CS alone, a CS every 10 s; the US 300 ms (150 steps) after it.
PAIRED, ALONE, ITI, ISI = 50, 45, 5000, 150
CS = 1000 + ITI * np.arange(PAIRED + ALONE)
HAND = Experiment(paired=PAIRED, cs_alone=ALONE, unpaired=0)


def session(**changes: Any) -> Events:
    none = np.zeros(0, np.int64)
    made = Events(pn=none, io=none, n_steps=int(CS[-1]) + ITI, cs=CS, us=CS[:PAIRED] + ISI)
    return replace(made, **changes)


def statistics(latencies: dict[int, int]) -> dict[str, float]:
    """Of a session with a CR so many steps after the CS of these trials."""
    cr = np.array(sorted(CS[trial] + after for trial, after in latencies.items()), np.int64)
    return dict(zip(NAMES, conditioned(cr, session(), CONFIG, HAND).tolist(), strict=True))


def test_each_statistic_of_a_hand_made_session() -> None:
    # Trials 10 to 49 are the last 40 paired ones: 30 with a CR, 10 of these well-timed (140 steps, 280 ms, is the
    # limit). Before, CRs in trials 3 and 4. Trials 55 to 94 are the last 40 CS alone: 8 with a CR.
    paired = dict.fromkeys(range(20, 30), 140) | dict.fromkeys(range(30, 50), 141)
    alone = dict.fromkeys(range(50, 63), 100)
    found = statistics({3: 100, 4: 100} | paired | alone)
    assert found["cr_rate"] == 30 / 40
    assert found["well_timed"] == 10 / 40
    assert found["latency"] == pytest.approx((10 * 0.280 + 20 * 0.282) / 30)
    assert found["first_cr"] == 4
    assert found["extinction"] == 8 / 40
    assert np.isnan([found["drift"], found["energy"]]).all()


def test_without_a_cr() -> None:
    found = statistics({})
    assert (found["cr_rate"], found["well_timed"], found["extinction"]) == (0, 0, 0)
    assert found["latency"] == HAND.isi_s and found["first_cr"] == PAIRED + 1


def test_what_the_cs_cannot_have_evoked_is_no_response() -> None:
    # A true detection comes within 150 ms and its trace lasts 300 ms: 225 steps.
    assert statistics({49: 225})["cr_rate"] == 1 / 40
    assert statistics({49: 226})["cr_rate"] == 0
    # Only the first CR of a trial counts: an early one by chance hides nothing later.
    assert statistics({49: 0})["latency"] == 0


def test_fewer_trials_than_the_end_of_a_phase() -> None:
    few = replace(HAND, paired=2, cs_alone=1)
    made = session(cs=CS[:3], us=CS[:2] + ISI)
    found = conditioned(CS[[0, 2]] + 100, made, CONFIG, few)
    assert found[:5] == pytest.approx([0.5, 0.5, 0.2, 1, 1.0])


@pytest.mark.parametrize(
    ("missing", "absent"),
    [
        ({"paired": 0}, {"cr_rate", "well_timed", "latency", "first_cr"}),
        ({"cs_alone": 0}, {"extinction"}),
        ({"unpaired": 0}, {"drift"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_there_are_no_trials_for_is_nan(missing: dict[str, int], absent: set[str]) -> None:
    found = behaviour(CONFIG, replace(SHORT, **missing), [1])[0]
    assert {name for name, value in zip(NAMES, found, strict=True) if np.isnan(value)} == absent


# --- one definition for every model -----------------------------------------------------------


def test_engines_and_step_by_step_agree() -> None:
    seeds = range(6)
    found = {variant: behaviour(CONFIG, SHORT, seeds, variant=variant) for variant in VARIANTS}
    assert set(VARIANTS) == {"float", "fixed", "engine-float", "engine-fixed"}
    np.testing.assert_array_equal(found["engine-fixed"], found["fixed"])
    np.testing.assert_allclose(found["engine-float"], found["float"], rtol=0, atol=1e-12)
    difference = np.abs(found["fixed"] - found["float"])[:, index("drift")]
    assert 0 < difference.max() < 1e-4, "words that are rounded show, and only so much"


def test_drift_is_that_of_the_unpaired_session_alone() -> None:
    found = behaviour(CONFIG, SHORT, [7], variant="fixed")[0, index("drift")]
    _, unpaired = SHORT.sessions(CONFIG, 7)
    assert unpaired is not None and unpaired.cs.size == SHORT.unpaired
    raw = MicrocircuitFixed(CONFIG).process(unpaired.pn_steps, unpaired.io_steps).weight[-1]
    assert found == raw * CONFIG.formats.weight.lsb - CONFIG.weight.initial != 0


def test_equal_seeds_give_equal_sessions_and_other_seeds_others() -> None:
    one, same, other = behaviour(CONFIG, SHORT, [3, 3, 4])
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    first, unpaired = SHORT.sessions(CONFIG, 3)
    assert unpaired is not None and first.cs[:5].tolist() != unpaired.cs[:5].tolist(), "two streams of a seed"


def test_the_default_chip_behaves_as_in_figure_10() -> None:
    found = behaviour(CONFIG, Experiment(), range(40)).mean(axis=0)
    assert found[index("cr_rate")] == pytest.approx(0.92, abs=0.03)
    assert found[index("well_timed")] == pytest.approx(0.41, abs=0.08)
    assert 0.3 < found[index("extinction")] < 0.8, "extinction is often incomplete"


# --- energy -----------------------------------------------------------------------------------


def test_energy_of_a_step_that_is_computed() -> None:
    made = session(pn=CS)
    found = energy(CONFIG, made, event_driven=False)
    assert found.multiplications == made.n_steps and found.accesses == 2 * made.n_steps
    # w has 32 bits and T 21; state: both, two ages of 8 bits for traces of 150 steps, one flag.
    assert found.product_bits == made.n_steps * 32 * 21
    assert found.access_bits == 2 * made.n_steps * (32 + 21 + 16 + 1)
    assert found.rate == pytest.approx((32 * 21 + 2 * 70) * 500 / 1000)
    # Half as many steps of twice the length: half the rate, but for ages of 7 bits.
    coarse = energy(CONFIG.replace(time={"step_s": 0.004}), made, event_driven=False)
    assert coarse.rate == pytest.approx((32 * 21 + 2 * 68) * 250 / 1000)


def test_energy_of_a_circuit_that_sleeps_by_counting_steps() -> None:
    made, _ = SHORT.sessions(CONFIG, 5)
    trace, delay = CONFIG.trace_steps, CONFIG.eligibility_delay_steps
    active = np.zeros(made.n_steps + delay + trace, bool)
    for step in made.pn:
        active[step : step + trace] = True
    eligible = np.concatenate([np.zeros(delay, bool), active])[: made.n_steps]
    active = active[: made.n_steps]
    found = energy(CONFIG, made, event_driven=True)
    assert found.multiplications == active.sum()
    # Awake while either trace is there.
    assert found.accesses == 2 * (active | eligible).sum()
    assert found.rate < energy(CONFIG, made, event_driven=False).rate / 10


def test_energy_grows_with_the_words() -> None:
    narrow = CONFIG.replace(
        formats={"weight": "UQ(0,24)", "potentiation": "UQ(0,24)", "depression": "UQ(0,24)"}
    )
    made = session(pn=CS)
    for event_driven in (False, True):
        found = behaviour(CONFIG, SHORT, [5], event_driven=event_driven)[0, index("energy")]
        session_of_5 = SHORT.sessions(CONFIG, 5)[0]
        assert found == energy(CONFIG, session_of_5, event_driven=event_driven).rate
        rates = [energy(config, made, event_driven=event_driven).rate for config in (narrow, CONFIG)]
        assert rates[0] < rates[1]


@pytest.mark.parametrize(
    ("old", "new", "statistic"),
    applying(
        [
            (
                "trials.latency_s[end][responded[end]]",
                "trials.latency_s[end][trials.well_timed[end]]",
                "latency",
            ),
            ("paired.argmax() + 1 if", "paired.argmax() if", "first_cr"),
            ("alone[-_END:].mean()", "alone[:_END].mean()", "extinction"),
            ("paired.size - _END, 0)", "paired.size - _END // 2, 0)", "cr_rate"),
            ("experiment.pn.window_s[1] + config.trace", "config.trace", "cr_rate"),
        ],
        module,
    ),
)
def test_a_mutant_of_a_statistic_shows(old: str, new: str, statistic: str) -> None:
    other = changed(module, old, new)
    latencies = {3: 100} | dict.fromkeys(range(20, 45), 150) | {49: 220, 46: 50} | {55: 40, 94: 40, 93: 40}
    cr = np.array(sorted(CS[trial] + after for trial, after in latencies.items()), np.int64)
    ours, theirs = (each.conditioned(cr, session(), CONFIG, HAND) for each in (module, other))
    assert ours[index(statistic)] != theirs[index(statistic)]


# --- experiments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paired": -1}, "paired = -1: limits are 0 and 10000"),
        ({"unpaired": -3}, "unpaired = -3: limits are 0 and 10000"),
        ({"paired": 0, "cs_alone": 0}, "paired and cs_alone are both 0"),
        ({"isi_s": 20.0}, "needs 0 < isi_s < shortest"),
    ],
    ids=str,
)
def test_an_experiment_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Experiment(), **changes)


def test_the_experiment_of_a_recorded_session() -> None:
    made, _ = Experiment(paired=2000, cs_alone=60).sessions(CONFIG, 2)
    found = Experiment.seen(made, CONFIG)
    assert (found.paired, found.cs_alone, found.unpaired, found.isi_s) == (2000, 60, 0, 0.3)
    assert found.pn.tdr == pytest.approx(PN_QUALITY.tdr, abs=0.03)
    # Not 1 - (1 - .486)·exp(-1.14·.2) = 0.59, which spontaneous detections in the window make of it; 3 errors.
    assert found.io.tdr == pytest.approx(IO_QUALITY.tdr, abs=0.045)
    assert found.io.far_hz == pytest.approx(IO_QUALITY.far_hz, rel=0.05)


def test_the_interval_of_a_recorded_session_is_its_own() -> None:
    made, _ = Experiment(paired=20, cs_alone=5, isi_s=0.4).sessions(CONFIG, 2)
    assert Experiment.seen(made, CONFIG).isi_s == pytest.approx(0.4)


def test_a_recorded_detector_that_is_no_better_than_chance() -> None:
    deaf = Experiment(paired=40, cs_alone=5, io=replace(IO_QUALITY, tdr=0.0))
    found = [Experiment.seen(deaf.sessions(CONFIG, seed)[0], CONFIG).io.tdr for seed in range(20)]
    assert min(found) == 0.0 and 0 < np.mean(found) < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cs": CS[:0], "us": CS[:0]}, "cs: has no trials"),
        ({"us": CS[ALONE:] + ISI}, "us: needs paired trials first"),
        (
            {"us": np.sort(np.append(CS[: PAIRED - 1] + ISI, CS[PAIRED - 1] + 80))},
            "another interval to the US",
        ),
    ],
    ids=["no trials", "CS alone first", "intervals"],
)
def test_a_recorded_session_that_is_no_conditioning(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Experiment.seen(session(**changes), CONFIG)


def test_unpaired_trials_are_no_conditioning() -> None:
    made = Protocol((Trial.UNPAIRED,) * 30).events(CONFIG, 1)
    with pytest.raises(ValueError, match="us: "):
        Experiment.seen(made, CONFIG)


# --- spaces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "limits", "message"),
    [
        ((), None, "at least one"),
        (("potentiation", "gain"), None, "parameter 'gain': choose from potentiation"),
        (("depression", "depression"), None, "each once"),
        (("threshold",), {"threshold": (0.4, 0.3)}, "threshold from 0.4 to 0.3: limits are 0.2 and 0.5"),
        (("threshold",), {"threshold": (0.1, 0.3)}, "threshold from 0.1 to 0.3"),
        (("weight_bits",), {"weight_bits": (20, 20)}, "from 20 to 20: limits are 12 and 32, the first below"),
        (("threshold",), {"threshold": (0.3, float("nan"))}, "threshold from 0.3 to nan"),
        (("weight_bits",), {"weight_bits": (20.5, 24)}, "weight_bits from 20.5 to 24: whole numbers only"),
        (("threshold",), {"noi_delay": (0, 0.1)}, "limits of 'noi_delay': not among"),
    ],
    ids=str,
)
def test_a_space_that_cannot_be(names: tuple[str, ...], limits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParameterSpace(names, CONFIG, limits)


@settings(max_examples=60)
@given(st.data())
def test_a_vector_and_its_configuration_are_inverse(data: st.DataObject) -> None:
    names = data.draw(st.permutations([*CHIP, "trace_bits", "threshold_bits"]))
    space = ParameterSpace(names, CONFIG)
    z: list[float] = []
    for parameter in space.parameters:
        if parameter.integer:
            z.append(data.draw(st.integers(int(parameter.low), int(parameter.high))))
        else:
            z.append(data.draw(st.floats(parameter.low, parameter.high)))
    try:
        config = space.apply(z)
    except ConfigError:
        return
    # Λnoi becomes whole steps.
    wanted = [
        round(value / 0.002) * 0.002 if name == "noi_delay" else value
        for name, value in zip(names, z, strict=True)
    ]
    np.testing.assert_allclose(space.values(config), wanted, rtol=1e-12, atol=1e-12)


def test_what_each_parameter_changes() -> None:
    z = {"potentiation": -4.5, "depression": -2.0, "threshold": 0.3, "noi_delay": 0.0551}
    config = ParameterSpace(tuple(z), CONFIG).apply(list(z.values()))
    assert config.plasticity.potentiation == pytest.approx(10**-4.5) and config.plasticity.depression == 0.01
    assert config.threshold.level == pytest.approx(0.3 * 0.47)
    assert config.noi.delay_s == config.eligibility.delay_s == pytest.approx(0.056)
    assert config.replace(
        plasticity={"potentiation": 3.36e-5, "depression": 0.0161}, threshold={"level": 0.188},
        noi={"delay_s": 0.1}, eligibility={"delay_s": 0.1},
    ) == CONFIG, "and nothing else"  # fmt: skip


def test_the_words_of_w_carry_those_of_plasticity_along() -> None:
    config = ParameterSpace(("weight_bits",), CONFIG).apply([24])
    formats = config.formats
    assert [str(each) for each in (formats.weight, formats.potentiation, formats.depression)] == [
        "UQ(0,24)"
    ] * 3
    for names, z in (
        (("weight_bits", "plasticity_bits"), (26, 23)),
        (("plasticity_bits", "weight_bits"), (23, 26)),
    ):
        formats = ParameterSpace(names, CONFIG).apply(z).formats
        assert [str(each) for each in (formats.weight, formats.depression)] == ["UQ(0,26)", "UQ(0,23)"], names
    with pytest.raises(ConfigError, match="finer than w"):
        ParameterSpace(("weight_bits", "plasticity_bits"), CONFIG).apply([23, 26])
    assert str(ParameterSpace(("trace_bits",), CONFIG).apply([15]).formats.trace) == "UQ(1,15)"


def test_whole_numbers_are_drawn_with_both_limits() -> None:
    space = ParameterSpace(("threshold", "weight_bits"), CONFIG, {"weight_bits": (22, 25)})
    z = space.uniform(4000, 1)
    values, counts = np.unique(z[:, 1], return_counts=True)
    assert values.tolist() == [22, 23, 24, 25] and (np.abs(counts - 1000) < 150).all()
    assert 0.2 <= z[:, 0].min() < 0.21 and 0.49 < z[:, 0].max() <= 0.5
    assert space.log_volume == pytest.approx(np.log(0.3 * 4))
    np.testing.assert_array_equal(z, space.uniform(4000, 1))


def test_every_parameter_has_its_default_within_its_limits() -> None:
    for parameter in PARAMETERS.values():
        assert parameter.low <= parameter.of(CONFIG) <= parameter.high, parameter.name
        assert parameter.integer == (parameter.name in WORDS)
    assert set(CHIP) | set(WORDS) == set(PARAMETERS)


# --- tables -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> Table:
    space = ParameterSpace(("potentiation", "weight_bits"), CONFIG)
    return simulate(space, np.array([[-4.5, 32], [-4.5, 18], [-4.4, 28]]), [4, 4, 9], SHORT)


def test_simulations_are_behaviour_with_these_parameters(table: Table) -> None:
    space = ParameterSpace(("potentiation", "weight_bits"), CONFIG)
    for row in (0, 2):
        alone = behaviour(space.apply(table.z[row]), SHORT, [int(table.seeds[row])])[0]
        np.testing.assert_array_equal(table.statistics[row], alone)
        for options in ({"variant": "engine-float"}, {"event_driven": True}):
            alone = behaviour(space.apply(table.z[row]), SHORT, [int(table.seeds[row])], **options)[0]
            other = simulate(space, table.z[[row]], table.seeds[[row]], SHORT, **options).statistics[0]
            np.testing.assert_array_equal(other, alone)
            assert (other != table.statistics[row]).any()
    # 18 bits take δp = 3.2e-5 off by more than 1 %: there is no such chip.
    assert np.isnan(table.statistics[1]).all()
    np.testing.assert_array_equal(table.column("drift"), table.statistics[:, index("drift")])


def test_a_table_is_written_and_read(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    joined = Table.join([table, table])
    joined.save(path)
    again = Table.load(path)
    assert again.names == table.names and len(again.z) == 6
    for name in ("z", "statistics", "seeds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(joined, name))


def test_tables_of_other_parameters_are_not_joined(table: Table) -> None:
    with pytest.raises(ValueError, match="parameters a, b beside potentiation, weight_bits"):
        Table.join([table, replace(table, names=("a", "b"))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": None}, "seeds: entry is missing"),
        ({"statistic_names": np.array(["wit"])}, "statistic_names: other than this version's"),
        ({"z": np.zeros((3, 5))}, r"z: float64 of shape \(3, 5\), must be float64 of 3 rows and 2 columns"),
        ({"statistics": np.zeros((2, len(STATISTICS)))}, "statistics: float64 of shape"),
        ({"z": np.zeros((3, 2), np.float32)}, r"z: float32 of shape \(3, 2\), must be float64"),
        ({"seeds": np.zeros(3)}, "seeds: must be whole numbers"),
    ],
    ids=str,
)
def test_a_file_that_is_no_table(table: Table, tmp_path: Path, changes: Any, message: str) -> None:
    path = tmp_path / "table.npz"
    entries = {
        "names": np.array(table.names), "statistic_names": np.array(NAMES), "z": table.z,
        "statistics": table.statistics, "seeds": table.seeds,
    } | changes  # fmt: skip
    np.savez(path, **{name: entry for name, entry in entries.items() if entry is not None})
    with pytest.raises(FileError, match=message) as refused:
        Table.load(path)
    assert "table.npz" in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_damaged(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    table.save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(FileError, match=r"table\.npz"):
        Table.load(path)


def test_statistics_need_no_torch() -> None:
    check = (
        "import sys, microzone.golden_model.inference.simulations, microzone.golden_model.inference.maxent;"
        "found = {'torch', 'sbi', 'zuko'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", check], check=True)

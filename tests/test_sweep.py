"""The sweep's parts: specification, measures of behaviour, the smallest format, the front, the folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.experiment.protocol import score
from microzone.golden_model.experiment.sessions import Sessions
from microzone.golden_model.files import FileError
from microzone.golden_model.provenance import Provenance, provenance
from microzone.tools.errors import UserError
from microzone.tools.models import run_model
from microzone.tools.sweep import store as module
from microzone.tools.sweep.behaviour import MEASURES, Shift, course, measures, paired_shift
from microzone.tools.sweep.proposal import joined, pareto_front, smallest_formats, widened
from microzone.tools.sweep.scenario import Scenario
from microzone.tools.sweep.spec import BUILT_IN, Experiment, Point, Spec
from microzone.tools.sweep.store import Store
from microzone.tools.sweep.synthesis import Synthesis
from microzone.tools.sweep.table import Row, as_table
from microzone.tools.sweep.work import CHUNK, Part, parts, simulate

BASE = ChipConfig.make()
WEIGHTS = ["formats.weight", "formats.potentiation", "formats.depression"]


def experiment(**fields: Any) -> Experiment:
    axis = [{"fields": WEIGHTS, "values": ["UQ(0,22)", "UQ(0,32)"]}]
    return Experiment.model_validate({"name": "weight", "axis": axis} | fields)


# --- specification ------------------------------------------------------------------------------


def test_the_points_are_all_combinations() -> None:
    axes = [
        {"fields": WEIGHTS, "values": ["UQ(0,22)", "UQ(0,32)"]},
        {"fields": ["plasticity.potentiation", "protocol.io_tdr"], "values": [[3e-5, 0.4], [4e-5, 0.6]]},
    ]
    points = Spec(experiment=(experiment(axis=axes),)).points(BASE)
    assert [(point.formats["weight"], point.condition["protocol.io_tdr"]) for point in points] == [
        ("UQ(0,22)", 0.4), ("UQ(0,22)", 0.6), ("UQ(0,32)", 0.4), ("UQ(0,32)", 0.6),
    ]  # fmt: skip
    first = points[0]
    assert first.config is not None and first.reference is not None
    assert str(first.config.formats.depression) == "UQ(0,22)" and first.scenario.io_tdr == 0.4
    # The float model has the parameters, but the formats that are not swept.
    assert first.reference.formats == BASE.formats and first.reference.plasticity.potentiation == 3e-5
    assert len({point.key for point in points}) == 4


def test_a_session_longer_than_any_file_is_refused_before_any_work() -> None:
    axis = ({"fields": ("protocol.iti_s",), "values": ([10.0, 2000.0],)},)
    with pytest.raises(ConfigError, match=r"experiment .*: a session may take 602000 s, limit is 400000 s"):
        Spec(experiment=(experiment(axis=axis),)).points(BASE)


def test_a_format_that_cannot_be_is_a_point_too() -> None:
    axis = [{"fields": WEIGHTS, "values": ["UQ(0,18)", "UQ(0,20)"]}]
    refused, warned = Spec(experiment=(experiment(axis=axis),)).points(BASE)
    assert "off by 2.2%, limit is 1%" in refused.refused and refused.config is None
    assert "off by 0.66%" in warned.warning and not warned.refused
    assert parts([refused, warned], range(10)) == parts([warned], range(10))


def test_recalibration_brings_its_coefficients() -> None:
    (point, _) = Spec(experiment=(experiment(recalibrate=True),)).points(BASE)
    assert point.config is not None and point.config.recalibration.enabled
    assert point.config.recalibration.coefficients is not None


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_comes_along_is_valid(name: str) -> None:
    points = Spec.load(name).points(BASE)
    assert sum(not point.refused for point in points) >= 0.9 * len(points)


AXIS = '[[experiment]]\nname = "a"\n[[experiment.axis]]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AXIS + 'fields = ["formats.wight"]\nvalues = ["UQ(0,24)"]', "formats.wight: no such field"),
        (AXIS + 'fields = ["nothing.weight"]\nvalues = [1]', "nothing.weight: no such field"),
        (AXIS + 'fields = ["formats.weight"]\nvalues = ["UX"]', "formats.weight = 'UX': 'UX' is not a format"),
        (AXIS + 'fields = ["formats.weight"]\nvalues = [24]', "formats.weight = 24: needs a format"),
        (AXIS + 'fields = ["formats.weight"]\nvalues = []', "values: Tuple should have at least 1 item"),
        (AXIS + 'fields = ["protocol.io_tdr"]\nvalues = ["much"]', "protocol.io_tdr = 'much': Input should be"),
        (AXIS + 'fields = ["noi.delay_s"]\nvalues = [-1.0]', "noi.delay_s = -1.0: Input should be greater"),
        (AXIS + 'fields = ["noi.delay_s", "trace.end"]\nvalues = [[0.1]]', "has 1, fields 2"),
        (AXIS + 'fields = ["noi.delay_s", "noi.delay_s"]\nvalues = [0.1]', "noi.delay_s: is on two axes"),
        (2 * (AXIS + 'fields = ["noi.delay_s"]\nvalues = [0.1]\n'), "experiment a: is there twice"),
        ("sessions = 1\n" + AXIS + 'fields = ["noi.delay_s"]\nvalues = [0.1]', "sessions: Input should be greater"),
        ("session = 10\n" + AXIS + 'fields = ["noi.delay_s"]\nvalues = [0.1]', "session: Extra inputs"),
        ("sessions = 10", "experiment: Field required"),
        ("sessions =", "not TOML"),
    ],
)  # fmt: skip
def test_a_bad_specification_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        Spec.load(str(path))
    assert str(refused.value).startswith(f"{path}: ") and message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_specification_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UserError, match="No such file or directory; built in are word-lengths, detection"):
        Spec.load("nowhere.toml")


# --- behaviour ----------------------------------------------------------------------------------


def sessions(timed: str, latency: float = 0.2, weight: tuple[float, ...] = ()) -> Sessions:
    """One session: a letter a trial, t in time, l late, - without CR."""
    letters = np.array(list(timed))[None]
    responded = np.where(letters == "-", np.nan, np.where(letters == "t", latency, 0.4))
    return Sessions(
        seeds=np.array([1]), well_timed=letters == "t", late=letters == "l", latency_s=responded,
        weight=np.array([weight or (0.5,) * len(timed)]), weight_end=np.array([0.5]), crs=np.array([0]),
    )  # fmt: skip


def test_measures_of_one_session() -> None:
    found = measures(
        sessions("-lt-tt" + "tlt-", weight=tuple(np.arange(10) / 10)), Scenario(paired=6, cs_alone=4)
    )
    expected = {"acquisition": 3, "asymptote": 0.5, "late": 1 / 6, "latency_s": 0.2, "weight_trained": 0.5,
                "extinction": 3, "remaining": 0.5, "weight_end": 0.9}  # fmt: skip
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(expected)
    assert set(found) == set(MEASURES)


def test_measures_of_a_session_that_learns_nothing() -> None:
    found = measures(sessions("-l----" + "----"), Scenario(paired=6, cs_alone=4))
    assert found["acquisition"] == 7 and found["extinction"] == 0 and np.isnan(found["latency_s"])


def test_no_extinction_without_cs_alone() -> None:
    found = measures(sessions("tt"), Scenario(unpaired=2, paired=0, cs_alone=0))
    assert np.isnan(found["extinction"]) and np.isnan(found["remaining"]) and found["asymptote"] == 1


def test_only_the_last_trials_tell_the_outcome() -> None:
    found = measures(sessions("t" * 60 + "-" * 40 + "t" * 5 + "-" * 40), Scenario(paired=100, cs_alone=45))
    assert found["asymptote"] == 0 and found["remaining"] == 0 and found["extinction"] == 5


def test_the_course_of_both_models() -> None:
    found = course(
        sessions("tl-t", weight=(0.1, 0.2, 0.3, 0.4)), sessions("ttl-", weight=(0.1, 0.2, 0.3, 0.2))
    )
    assert found["trials_differ"] == 2
    assert found["weight_rms"] == pytest.approx(0.1) and found["weight_largest"] == pytest.approx(0.2)


def test_a_shift_is_paired() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(10, 3, 400)
    fixed = real + 0.1 + rng.normal(0, 0.01, 400)
    real[3], fixed[5] = np.nan, np.nan
    shift = paired_shift(real, fixed)
    assert shift is not None
    both = np.delete(np.arange(400), [3, 5])
    difference = fixed[both] - real[both]
    assert shift.shift == pytest.approx(difference.mean())
    assert shift.shift_error == pytest.approx(difference.std(ddof=1) / math.sqrt(398))
    assert shift.real_error == pytest.approx(real[both].std(ddof=1) / math.sqrt(398))
    assert shift.distance == pytest.approx((shift.shift + 2 * shift.shift_error) / shift.real_error)


def test_distances_at_the_edges() -> None:
    same, off = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 2.0])
    assert paired_shift(same, same).distance == 0  # type: ignore[union-attr]
    assert paired_shift(same, off).distance == math.inf  # type: ignore[union-attr]
    assert paired_shift(np.array([1.0, np.nan]), np.array([np.nan, 1.0])) is None


def test_a_part_is_what_the_models_do_step_by_step() -> None:
    scenario = Scenario(paired=8, cs_alone=4, io_tdr=0.9)
    axis = [{"fields": WEIGHTS, "values": ["UQ(0,21)"]}]
    (point,) = Spec(experiment=(experiment(axis=axis, protocol=scenario.model_dump()),)).points(
        BASE.replace(plasticity={"depression": 0.05})
    )
    (part,) = parts([point], range(5, 8))
    columns = simulate(part)
    assert columns["seed"].tolist() == [5, 6, 7]
    assert columns["weight_rms"].min() > 0
    for i, seed in enumerate(part.seeds):
        events = scenario.protocol().events(part.config, seed)
        for model, config in (("float", part.reference), ("fixed", part.config)):
            result = run_model(model, events, config)  # type: ignore[arg-type]
            found = score(result.cr, result.w, events, config)
            assert columns[f"{model}_weight_end"][i] == pytest.approx(found.weight[-1], abs=1e-12)
            assert columns[f"{model}_acquisition"][i] == (found.first_well_timed or 9)
            assert columns[f"{model}_late"][i] == pytest.approx(found.late[:8].mean())


# --- the smallest formats, and the front --------------------------------------------------------


def row(formats: str, distance: float | None, cells: int | None = None, condition: float = 0.0) -> Row:
    """A point whose only measure is that far from float."""
    settings = dict.fromkeys(WEIGHTS, formats) | {"plasticity.potentiation": condition}
    point = Point("weight", settings, Scenario(), BASE, BASE)
    if distance is None:
        return Row(point, 0, {}, {}, {})
    shift = Shift(0.0, 1.0, 0.0, 1.0, distance, 0.0)
    course = {"trials_differ": 0.0, "sessions_differ": 0.0}
    return Row(point, 2, {"acquisition": shift}, course, {} if cells is None else {"logic_cells": cells})


@pytest.mark.parametrize(
    ("rows", "smallest"),
    [
        ([("UQ(0,20)", 3.0), ("UQ(0,22)", 0.9), ("UQ(0,24)", 0.1)], "UQ(0,22)"),
        ([("UQ(0,20)", 0.2), ("UQ(0,22)", 1.1), ("UQ(0,24)", 1.0)], "UQ(0,24)"),  # 20 bits by luck
        ([("UQ(0,20)", None), ("UQ(0,22)", 0.9), ("UQ(0,22)", 1.1), ("UQ(0,24)", 0.1)], "UQ(0,24)"),
        ([("UQ(0,22)", 0.9), ("UQ(0,22)", None), ("UQ(0,24)", 0.1), ("UQ(0,24)", 0.2)], "UQ(0,24)"),
        ([("UQ(0,22)", 0.1), ("UQ(0,24)", 1.1)], None),
    ],
)
def test_the_smallest_format_holds_as_do_all_wider_ones(
    rows: list[tuple[str, float | None]], smallest: str | None
) -> None:
    found = smallest_formats(experiment(), [row(*each, condition=i) for i, each in enumerate(rows)])
    assert (found and found.formats["weight"]) == smallest


def test_two_axes_of_formats_propose_nothing() -> None:
    axes = [{"fields": [name], "values": ["UQ(0,32)"]} for name in ("formats.weight", "formats.threshold")]
    assert smallest_formats(experiment(axis=axes), [row("UQ(0,32)", 0.0)]) is None


def test_formats_together() -> None:
    found = [
        smallest_formats(experiment(), [row(formats, 0.1)])
        for formats in ("UQ(0,22)", "UQ(0,26)", "UQ(0,24)")
    ]
    assert joined([one for one in found if one])["depression"] == "UQ(0,26)"
    assert widened({"trace": "UQ(1,14)", "coefficient": "SQ(1,17)"}, 3) == {"trace": "UQ(1,17)", "coefficient": "SQ(1,20)"}  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    front = pareto_front([row("UQ(0,22)", distance, cells) for cells, distance in pairs])
    found = [(each.logic_cells, each.distance) for each in front]
    beaten = {
        (c, d) for c, d in pairs for e, f in pairs if e <= c and f <= d and (e, f) != (c, d)
    }  # by brute force
    assert found == sorted(set(pairs) - beaten)


def test_what_was_not_synthesised_is_not_on_the_front() -> None:
    assert pareto_front([row("UQ(0,22)", 0.5), row("UQ(0,22)", None, 100)]) == []


# --- the folder ---------------------------------------------------------------------------------

SPEC = Spec(experiment=(experiment(),))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Store, Part, dict[str, Any], Path]:
    store = Store(tmp_path / "sweep", SPEC, BASE)
    part = parts(SPEC.points(BASE), range(10, 13))[0]
    columns = {"seed": np.arange(10, 13), "float_late": np.array([0.1, np.nan, 1 / 3])}
    store.save(part, columns)
    (path,) = (tmp_path / "sweep" / "parts").iterdir()
    return store, part, columns, path


def test_a_part_is_read_as_it_was_written(stored: tuple[Store, Part, dict[str, Any], Path]) -> None:
    store, part, columns, _ = stored
    found, damage = store.load(part)
    assert found is not None and not damage
    assert all(np.array_equal(found[name], columns[name], equal_nan=True) for name in columns)


def flipped(content: bytes) -> bytes:
    at = content.index(np.float64(1 / 3).tobytes())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: content[: len(content) // 2], lambda _: b"", flipped],
    ids=["a byte short", "half", "empty", "a bit flipped"],
)
def test_a_damaged_part_is_none(
    stored: tuple[Store, Part, dict[str, Any], Path], damage: Callable[[bytes], bytes]
) -> None:
    store, part, _, path = stored
    path.write_bytes(damage(path.read_bytes()))
    found, why = store.load(part)
    assert found is None and why.startswith(f"{path}: damaged (") and "\n" not in why


def test_the_part_of_another_point_is_none(stored: tuple[Store, Part, dict[str, Any], Path]) -> None:
    store, part, columns, path = stored
    other = parts(SPEC.points(BASE)[1:], range(10, 13))[0]
    store.save(other, columns)
    (second,) = set(path.parent.iterdir()) - {path}
    second.replace(path)
    assert store.load(part) == (None, f"{path}: not the sessions that its name says")


def test_fewer_sessions_than_asked_for_are_none(stored: tuple[Store, Part, dict[str, Any], Path]) -> None:
    store, part, columns, path = stored
    store.save(part, {name: values[:2] for name, values in columns.items()})
    assert store.load(part) == (None, f"{path}: not the sessions that its name says")


def test_a_part_is_never_half_written(
    stored: tuple[Store, Part, dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, part, columns, path = stored
    before, write = path.read_bytes(), pq.write_table

    def fail(table: Any, file: Any, **options: Any) -> None:
        write(table, file, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(KeyboardInterrupt):
        store.save(part, columns | {"float_late": np.zeros(3)})
    assert path.read_bytes() == before and [path] == list(path.parent.iterdir())


def test_another_sweep_is_refused_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    Store(folder, SPEC, BASE)
    Store(folder, SPEC.model_copy(update={"margin_bits": 5}), BASE)  # decides no number
    with pytest.raises(
        FileError, match=r"holds another sweep, with spec\.sessions = 2500, here 10; take another"
    ):
        Store(folder, SPEC.model_copy(update={"sessions": 10}), BASE)
    with pytest.raises(FileError, match=r"with config\.noi\.delay_s = 0\.1, here 0\.2"):
        Store(folder, SPEC, BASE.replace(noi={"delay_s": 0.2}))
    (folder / "sweep.json").write_text("{")
    with pytest.raises(FileError, match=r"sweep\.json: cannot be read"):
        Store(folder, SPEC, BASE)


def other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the folder's results are computed from is another source from here on."""

    def other(*starts: Any, **options: Any) -> Provenance:
        found = provenance(*starts, **options)
        return Provenance({**found.sources, "golden_model/microcircuit.py": "0"}, found.versions)

    monkeypatch.setattr(module, "provenance", other)


def test_parts_of_other_sources_are_outdated(
    stored: tuple[Store, Part, dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, part, columns, path = stored
    assert store.outdated == "" == Store(store.folder, SPEC, BASE).outdated
    (other,) = parts(SPEC.points(BASE)[1:], range(10, 13))
    store.save(other, columns)
    other_sources(monkeypatch)
    now = Store(store.folder, SPEC, BASE)
    assert now.outdated == "another golden_model/microcircuit.py"
    assert now.load(part) == now.load(other) == (None, "")
    assert Store(store.folder, SPEC, BASE).load(part) == (None, ""), "what is outdated stays so"
    now.save(part, columns)
    assert now.load(part)[0] is not None and len(list(path.parent.iterdir())) == 2
    now.remove_outdated()
    assert list(path.parent.iterdir()) == [path]


def test_costs_of_other_sources_or_tools_are_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, cost = Synthesis(BASE), {"logic_cells": 1}
    store = Store(tmp_path, SPEC, BASE)
    assert store.expect_tools({"yosys": "0.70"}) == "" and store.cost(job) is None
    store.save_cost(job, cost)
    again = Store(tmp_path, SPEC, BASE)
    assert again.expect_tools({"yosys": "0.70"}) == "" and again.cost(job) == cost
    assert again.expect_tools({"yosys": "0.71"}) == "yosys 0.70 instead of 0.71" and again.cost(job) is None
    assert again.expect_tools({}) == "yosys 0.71 instead of none" and again.cost(job) is None
    assert again.expect_tools({"yosys": "0.70"}) and again.cost(job) == cost
    other_sources(monkeypatch)
    assert again.expect_tools({"yosys": "0.70"}) == "another golden_model/microcircuit.py"
    assert again.cost(job) is None


def test_every_session_is_in_one_part() -> None:
    (first, second) = SPEC.points(BASE)
    found = parts([first, second, first], range(7, 7 + 2 * CHUNK + 1))
    assert [len(part.seeds) for part in found] == 2 * [CHUNK, CHUNK, 1]
    for point in (first, second):
        seeds = [seed for part in found if part.key == point.key for seed in part.seeds]
        assert seeds == list(range(7, 7 + 2 * CHUNK + 1))


def test_equal_formats_are_one_core() -> None:
    base = Synthesis(BASE).key
    assert base == Synthesis(BASE.replace(plasticity={"potentiation": 3e-5}, weight={"initial": 0.4})).key
    assert base == Synthesis(BASE.replace(trace={"end": 0.44}, threshold={"level": 0.18})).key
    assert base != Synthesis(BASE.replace(formats={"trace": "UQ(1,18)"})).key
    assert base != Synthesis(BASE.replace(noi={"delay_s": 0.2})).key


def test_the_table_has_a_row_a_point() -> None:
    rows = [row("UQ(0,22)", 0.5, 100, 3e-5), row("UQ(0,18)", None)]
    table = as_table(rows).to_pylist()
    assert table[0]["formats.weight"] == "UQ(0,22)" and table[0]["plasticity.potentiation"] == 3e-5
    assert table[0]["within"] is True and table[0]["logic_cells"] == 100 and table[0]["sessions"] == 2
    assert table[1]["within"] is None and table[1]["distance"] is None

"""``microzone infer``: from a behaviour to configurations that load and run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXTRA, Outcome
from infer_requests import BOX, CONFIG, SMALL, TRIALS, WANT, asked, weighted
from microzone.golden_model import ChipConfig, Events
from microzone.golden_model.inference.behaviour import NAMES, Experiment, behaviour
from microzone.tools.errors import UserError
from microzone.tools.infer import methods, work
from microzone.tools.infer.request import Method, Wanted, read_seen
from microzone.tools.infer.store import Simulations
from microzone.tools.models import run_model
from rich.console import Console

Microzone = Callable[..., Outcome]


# --- maximum entropy --------------------------------------------------------------------------


def test_from_a_wanted_behaviour_to_configurations(microzone: Microzone) -> None:
    done = microzone("infer", *WANT, *SMALL, "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report == json.loads(Path("found/report.json").read_text())
    for one in report["constraints"].values():
        assert abs(one["violation"]) < 1e-3
    z, weights = weighted()
    assert z.shape == (500, 2) and weights.sum() == pytest.approx(1)
    assert (z >= [-5, -2.5]).all() and (z <= [-4, -1.2]).all()
    ratio = weights @ (z[:, 1] - z[:, 0])
    assert report["log_ratio"]["mean"] == pytest.approx(ratio)
    # Without drift δp = δd · 1.14 Hz · 2 ms.
    assert report["log_ratio"]["stability_condition"] == pytest.approx(-math.log10(1.14 * 0.002))
    assert abs(ratio - report["log_ratio"]["stability_condition"]) < 0.2
    for statistic in ("cr_rate", "drift"):
        assert report["behaviour"][statistic]["within"]
    assert report["passed"]
    for name in ("pairs.png", "behaviour.png"):
        assert (Path("found") / name).stat().st_size > 20_000
    assert [each["file"] for each in report["samples"]] == ["sample-1.toml", "sample-2.toml"]
    for each in report["samples"]:
        config = ChipConfig.load(Path("found") / each["file"])
        assert math.log10(config.plasticity.potentiation) == pytest.approx(each["parameters"]["potentiation"])
        assert config.replace(plasticity={"potentiation": 3.36e-5, "depression": 0.0161}) == CONFIG


@pytest.mark.slow
def test_a_sample_behaves_as_the_report_says_and_runs(microzone: Microzone) -> None:
    done = microzone("infer", *WANT, *SMALL)
    assert done.status == 0, done.err
    assert "log10(δd/δp)" in done.out and "stiffest" in done.out and "within" in done.out
    (sample, _) = json.loads(Path("found/report.json").read_text())["samples"]
    config = ChipConfig.load("found/sample-1.toml")
    fresh = behaviour(config, Experiment(paired=30, cs_alone=0, unpaired=10), range(60), variant="fixed")
    for name, told in sample["behaviour"].items():
        values = fresh[:, NAMES.index(name)]
        error = math.hypot(told["deviation"] / math.sqrt(20), values.std() / math.sqrt(60))
        assert abs(values.mean() - told["mean"]) < 4 * error
    session, _ = Experiment(paired=5).sessions(config, 1)
    session.save("events.npz")
    ran = microzone("run", "events.npz", "--config", "found/sample-1.toml", "--out", "result.npz")
    assert ran.status == 0, ran.err


@pytest.mark.slow
def test_a_rerun_finds_what_is_there(microzone: Microzone, monkeypatch: pytest.MonkeyPatch) -> None:
    assert microzone("infer", *WANT, *SMALL).status == 0
    report = json.loads(Path("found/report.json").read_text())
    before = {path.name: path.read_bytes() for path in Path("found").glob("sample-*.toml")}

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("simulated again")

    with monkeypatch.context() as patched:
        patched.setattr(work, "simulate", never)
        assert microzone("infer", *WANT, *SMALL).status == 0
    again = json.loads(Path("found/report.json").read_text())
    assert {**again, "seconds": 0} == {**report, "seconds": 0}
    assert {path.name: path.read_bytes() for path in Path("found").glob("sample-*.toml")} == before
    # Another behaviour, and more draws: the same simulations and others.
    kept = set(Path("found/parts").iterdir())
    other = microzone("infer", "--want", "cr_rate=0.6", *SMALL[:-2], "--simulations", 750, "--out", "found")
    assert other.status == 0, other.err
    assert kept < set(Path("found/parts").iterdir())
    assert len(weighted()[0]) == 750


def test_interrupted_and_resumed_is_undisturbed(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert microzone("infer", *WANT, *SMALL).status == 0
    whole = weighted()
    simulate, left = work.simulate, [3]

    def interrupt(*args: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return simulate(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(work, "simulate", interrupt)
        ended = microzone("infer", *WANT, *SMALL[:-2], "--out", "again")
    assert ended.status == 130 and not Path("again/report.json").exists()
    assert len(list(Path("again/parts").iterdir())) == 3
    assert microzone("infer", *WANT, *SMALL[:-2], "--out", "again").status == 0
    for ours, theirs in zip(weighted("again/posterior.npz"), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_workers_change_nothing(microzone: Microzone) -> None:
    assert microzone("infer", *WANT, *SMALL).status == 0
    one = weighted()
    assert microzone("infer", *WANT, *SMALL[:-4], "--workers", 2, "--out", "two").status == 0
    for ours, theirs in zip(weighted("two/posterior.npz"), one, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("--limits", "potentiation=-5:-4.1", "--limits", "depression=-2.5:-1.2"), "parameters.potentiation"),
        (("--unpaired", 11), "experiment.unpaired"),
        (("--seed", 2), "seed"),
        (("--variant", "engine-float"), "variant"),
    ],
    ids=str,
)
def test_a_folder_of_something_else_is_refused(
    microzone: Microzone, change: tuple[Any, ...], field: str
) -> None:
    with ExitStack() as stack:
        Simulations(Path("found"), asked(), (None, 0), Console(quiet=True), stack)
    before = {path: path.stat().st_mtime_ns for path in Path("found").rglob("*")}
    boxed = BOX[:2] if change[0] == "--limits" else BOX
    done = microzone("infer", *WANT, *TRIALS, *boxed, "--workers", 0, "--out", "found", *change)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert f"found: holds simulations of something else, with {field}" in done.err
    assert {path: path.stat().st_mtime_ns for path in Path("found").rglob("*")} == before


def test_whole_numbers_and_words_that_are_too_narrow(microzone: Microzone) -> None:
    arguments = (
        "--want",
        "cr_rate=0.55",
        *TRIALS,
        "--parameters",
        "weight_bits",
        "--limits",
        "weight_bits=16:24",
    )
    done = microzone("infer", *arguments, *SMALL[len(TRIALS) + len(BOX) :], "--json")
    report = json.loads(done.out)
    found = report["parameters"]["weight_bits"]["masses"]
    # With 16 to 19 bits δp = 3.36e-5 is 2 % off or more; with the others the chip behaves alike.
    assert all(found[str(bits)] == 0 for bits in range(16, 20)) and found["24"] > 0.1
    assert sum(found.values()) == pytest.approx(1)
    assert report["refused"] == pytest.approx(4 / 9, abs=0.1)
    assert ChipConfig.load("found/sample-1.toml").formats.weight.fraction_bits >= 20


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--want: at least one statistic"),
        (("--want", "wit=1"), "--want wit: choose from cr_rate, well_timed"),
        (("--want", "drift"), "--want drift: needs STATISTIC=VALUE"),
        (("--want", "drift=a"), "--want drift=a: needs STATISTIC=VALUE"),
        (("--want", "cr_rate=1.5"), "--want cr_rate: value 1.5, limits are 0 and 1"),
        (("--want", "well_timed=0.4+-0.5"), "--want well_timed: spread 0.5, limit is 0.49 at a mean of 0.4"),
        (("--want", "drift=1+-0.1"), "--want drift: spread 0.1, limit is 0 at a mean of 1"),
        (("--want", "drift=0+-0"), "--want drift: spread 0, must be above 0"),
        (("--want", "drift=0", "--want", "drift=1"), "--want drift: given twice"),
        (("--want", "drift=0", "--unpaired", 0), "--want drift: is not seen with --unpaired 0"),
        (("--want", "extinction=0", "--cs-alone", 0), "--want extinction: is not seen with --cs-alone 0"),
        (("--want", "drift=0", "--paired", 0, "--cs-alone", 0), "paired and cs_alone are both 0"),
        (("--want", "drift=0", "--parameters", "gain"), "parameter 'gain': choose from"),
        (("--want", "drift=0", "--limits", "gain=1:2"), "--limits gain: choose from"),
        (("--want", "drift=0", "--limits", "threshold=1"), "--limits threshold=1: needs PARAMETER=LOW:HIGH"),
        (("--want", "drift=0", "--limits", "threshold=0:1"), "threshold from 0 to 1: limits are 0.2 and 0.5"),
        (("--want", "drift=0", "--limits", "weight_bits=20:24"), "limits of 'weight_bits': not among"),
        (("--want", "drift=0", "--words", "gain"), "--words gain: choose from weight_bits"),
        (
            ("--method", "npe", "--want", "drift=0", "--seen", "e.npz", "r.npz"),
            "--seen: has its own statistics and trials",
        ),
        (("--seen", "e.npz", "r.npz"), "--seen: --method maxent takes what is wanted"),
        (("--method", "npe", "--seen", "e.npz", "r.npz"), "e.npz: No such file"),
        (("--method", "npe"), "--want or --seen: at least one statistic"),
        (("--want", "drift=0", "--config", "no.toml"), "no.toml: No such file"),
        (("--want", "drift=0", "--simulations", 10), "--simulations"),
        (("--want", "drift=0", "--method", "magic"), "'magic' is not one of"),
        (
            ("--want", "drift=0", "--scheduler", "tcp://a:1", "--workers", 1),
            "--workers: those of --scheduler",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(microzone: Microzone, arguments: tuple[Any, ...], message: str) -> None:
    done = microzone("infer", "--out", "found", *arguments)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert message.replace("paired and cs_alone", "paired and cs-alone") in done.err
    assert not Path("found").exists(), "nothing is half-written"


def test_a_behaviour_that_no_chip_has(microzone: Microzone) -> None:
    done = microzone("infer", "--want", "drift=0.9", *SMALL)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert "--method maxent: drift: target 0.9, the draws have" in done.err
    assert not Path("found/report.json").exists() and not list(Path("found").glob("sample-*"))


def test_without_the_extra_the_commands_say_how_to_get_it(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for method in ("dsn", "npe"):
        done = microzone("infer", "--method", method, "--want", "cr_rate=0.8", *SMALL)
        assert done.status == 2 and done.err.count("\n") == 1
        assert f"--method {method}: needs torch, sbi, zuko: make inference" in done.err
    assert microzone("infer", *WANT, *SMALL).status == 0, "maximum entropy needs none of it"


def test_a_recalibrating_chip_is_refused() -> None:
    section = {"enabled": True, "alpha": [1e-5, 1e-6, 0.0], "beta": [1.0, 0.1, 0.1], "gamma": [0.02, 0.001]}
    with pytest.raises(UserError, match=r"recalibration\.enabled = true"):
        asked(config=CONFIG.replace(recalibration=section))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": Method.NPE, "wanted": (Wanted("cr_rate", 0.8, 0.1),)}, "takes what was seen, without"),
        (
            {"method": Method.DSN, "names": ("weight_bits", "threshold"), "limits": {}},
            "takes no whole numbers",
        ),
        ({"method": Method.DSN, "names": ("threshold",), "limits": {}}, "--method dsn takes at least 2"),
    ],
    ids=["spread", "whole", "one"],
)
def test_what_a_method_does_not_take(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        asked(**changes)


# --- what was seen ----------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Path]:
    """A session of the default chip, as `microzone run` writes it."""
    session, _ = Experiment(paired=60, cs_alone=45).sessions(CONFIG, 11)
    files = tmp_path / "events.npz", tmp_path / "result.npz"
    session.save(files[0])
    run_model("fixed", session, CONFIG).save(files[1])
    return files


def test_statistics_of_recorded_files(recorded: tuple[Path, Path]) -> None:
    seen = read_seen(*recorded)
    assert (seen.experiment.paired, seen.experiment.cs_alone, seen.experiment.unpaired) == (60, 45, 0)
    wanted = behaviour(CONFIG, Experiment(paired=60, cs_alone=45, unpaired=0), [11], variant="fixed")[0]
    np.testing.assert_array_equal(seen.statistics[:5], wanted[:5])
    assert np.isnan(seen.statistics[5:]).all() and seen.config == CONFIG


def test_files_that_do_not_fit(microzone: Microzone, recorded: tuple[Path, Path]) -> None:
    pytest.importorskip("sbi", reason=EXTRA)
    events = Events.load(recorded[0])
    dataclasses.replace(events, n_steps=events.n_steps + 1).save("longer.npz")
    done = microzone("infer", "--method", "npe", "--seen", "longer.npz", recorded[1], "--out", "found")
    assert done.status == 2 and "w: has" in done.err and "longer.npz" in done.err
    dataclasses.replace(events, us=events.us[1:]).save("late.npz")
    done = microzone("infer", "--method", "npe", "--seen", "late.npz", recorded[1], "--out", "found")
    assert done.status == 2 and "late.npz: us: needs paired trials first" in done.err
    done = microzone("infer", "--seen", *recorded, "--out", "found")
    assert done.status == 2 and "--seen: --method maxent takes what is wanted" in done.err
    assert not Path("found").exists()


def test_npe_from_recorded_files_to_configurations(microzone: Microzone, recorded: tuple[Path, Path]) -> None:
    pytest.importorskip("sbi", reason=EXTRA)
    arguments = ("--seen", *recorded, *BOX, "--simulations", 1200, "--samples", 2, "--workers", 0)
    done = microzone("infer", "--method", "npe", *arguments, "--out", "found", "--json")
    report = json.loads(done.out)
    assert list(report["wanted"]) == ["cr_rate", "well_timed", "latency", "first_cr", "extinction"]
    assert report["gates"]["held_out"] == 120 and 0 <= report["gates"]["covered"] <= 120
    assert report["passed"] == (done.status == 0)
    for name, truth in (("potentiation", math.log10(3.36e-5)), ("depression", math.log10(0.0161))):
        found = report["parameters"][name]
        assert found["configured"] == pytest.approx(truth)
        assert found["quantiles"]["0.05"] < truth < found["quantiles"]["0.95"]
    from microzone.golden_model.inference.npe import Posterior

    seen = np.array([report["wanted"].get(name, [math.nan])[0] for name in NAMES])
    z, _ = weighted()
    assert (Posterior.load(Path("found/posterior.pt")).sample(seen, len(z), 1) == z).all()
    # 0.47 before anything is seen.
    assert report["log_ratio"]["deviation"] < 0.25 and abs(report["log_ratio"]["mean"] - 2.68) < 0.3
    assert all(one["within"] for one in report["behaviour"].values()), (
        "the session is none that samples exclude"
    )
    assert ChipConfig.load("found/sample-2.toml") != ChipConfig.load("found/sample-1.toml")


def test_a_flow_is_refined_by_simulations_of_what_it_has_come_to(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zuko", reason=EXTRA)
    few = {
        "rounds": 3,
        "steps": 5,
        "batch": 32,
        "check": 256,
        "last_check": 512,
        "transforms": 2,
        "hidden": 8,
    }
    monkeypatch.setattr(methods, "_FLOW", few)
    monkeypatch.setattr(methods, "_REFINED", (1, 2))
    done = microzone("infer", "--method", "dsn", *WANT, *SMALL, "--json")
    report = json.loads(done.out)
    assert report["gradient"] == "surrogate" and report["simulations_near"] == 500
    assert not report["converged"] and report["warnings"] == ["the flow has not converged"]
    assert done.status == 1 and not report["passed"]
    z, _ = weighted()
    assert z.shape == (4000, 2) and (z >= [-5, -2.5]).all() and (z <= [-4, -1.2]).all()
    # Two parts of 250 draws from the box, and one of each refinement; all are found again.
    kept = set(Path("found/parts").iterdir())
    monkeypatch.setattr(work, "simulate", None)
    again = microzone("infer", "--method", "dsn", *WANT, *SMALL, "--json")
    assert json.loads(again.out) | {"seconds": 0} == report | {"seconds": 0}
    assert set(Path("found/parts").iterdir()) == kept


@pytest.mark.slow
def test_dsn_and_maximum_entropy_agree(microzone: Microzone) -> None:
    pytest.importorskip("torch", reason=EXTRA)
    pytest.importorskip("zuko", reason=EXTRA)
    more = (*TRIALS, *BOX, "--simulations", 4000, "--samples", 1, "--out", "found", "--json")
    reports = {}
    for method in ("maxent", "dsn"):
        done = microzone("infer", "--method", method, *WANT, *more)
        assert done.status == 0, done.err
        reports[method] = json.loads(done.out)
    assert reports["dsn"]["gradient"] == "surrogate" and reports["dsn"]["converged"]
    assert reports["dsn"]["entropy"] == pytest.approx(reports["maxent"]["entropy"], abs=0.25)
    for name, one in reports["dsn"]["parameters"].items():
        other = reports["maxent"]["parameters"][name]
        assert one["mean"] == pytest.approx(other["mean"], abs=0.35 * other["deviation"])

"""``microzone calibrate``: what it writes from either kind of training session, and its refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model import ChipConfig, Protocol, Trial
from microzone.golden_model.calibration.calibration import calibrate
from microzone.golden_model.calibration.goals import Goals
from microzone.golden_model.calibration.thresholds import select_thresholds
from microzone.golden_model.experiment.protocol import TRAINING
from microzone.golden_model.experiment.training import synthetic_training

CONFIG = ChipConfig.make()
EVENTS = TRAINING.training(CONFIG, 1)
RAW = synthetic_training(CONFIG, 3, rate_hz=5000.0, spontaneous_s=60.0)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_calibrate_with_events(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    EVENTS.save(path)
    outcome = microzone("calibrate", path, "--out", "c.toml", "--figure", "f.png")
    assert outcome.status == 0, outcome.err
    config = calibrate(EVENTS, CONFIG, training_sha256=digest(path))
    assert ChipConfig.load("c.toml") == config
    assert "detection: PN 83.3% and 0.125 Hz, IO 70.0% and 1.07 Hz\n" in outcome.out
    assert "P̄: paired 146.5, CS alone 146.5 a trial, spontaneous 3034 in all\n" in outcome.out
    assert "D̄: paired 1, CS alone 0.144 a trial, spontaneous 5.967 in all, at 0.983 Hz\n" in outcome.out
    assert "δp 1.596e-05 a step, δd 0.008113 an event, residual 0.00391 of w a trial\n" in outcome.out
    assert outcome.out.endswith("written to c.toml\n")
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")


def test_calibrate_with_raw_samples(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "raw.npz"
    RAW.save(path)
    outcome = microzone("calibrate", path, "--out", "c.toml", "--figure", "f.png", "--json")
    assert outcome.status == 0, outcome.err
    selection = select_thresholds(RAW, CONFIG)
    config = calibrate(selection.events, selection.config, training_sha256=digest(path))
    assert ChipConfig.load("c.toml") == config
    numbers = json.loads(outcome.out)
    assert numbers["pn_threshold"] == config.detection.pn.threshold != CONFIG.detection.pn.threshold
    assert numbers["potentiation"] == config.plasticity.potentiation
    assert numbers["residual"] == selection.residual[selection.chosen] and numbers["pairs"] == 2500
    assert numbers["training_sha256"] == digest(path)
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")


def test_calibrate_uses_configuration_and_goals(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    EVENTS.save(tmp_path / "events.npz")
    (tmp_path / "base.toml").write_text("[weight]\ninitial = 0.375\n[recalibration]\nperiod_s = 60.0\n")
    outcome = microzone(
        "calibrate", tmp_path / "events.npz", "--config", tmp_path / "base.toml", "--out", "c.toml",
        "--delta-a", 0.1, "--trials-a", 50, "--delta-e", 0.15, "--trials-e", 60,
        "--costs", 1, 2, 30, "--noi-pass", 0.25,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    config = ChipConfig.load("c.toml")
    assert config.weight.initial == 0.375 and config.recalibration.period_s == 60
    goals = Goals(0.1, 50.0, 0.15, 60.0, (1.0, 2.0, 30.0), 0.25)
    base = ChipConfig.load(tmp_path / "base.toml")
    assert config == calibrate(EVENTS, base, goals, training_sha256=digest(tmp_path / "events.npz"))
    assert microzone("run", tmp_path / "events.npz", "--config", "c.toml", "--out", "r.npz").status == 0


def test_calibrate_leaves_an_old_file_alone_where_it_fails(
    microzone: Callable[..., Outcome], tmp_path: Path
) -> None:
    replace(EVENTS, pn=EVENTS.pn[:0]).save(tmp_path / "silent.npz")
    Path("c.toml").write_text("old")
    assert microzone("calibrate", tmp_path / "silent.npz", "--out", "c.toml").status == 2
    assert Path("c.toml").read_text() == "old"


START = EVENTS.spontaneous_start
assert START is not None
BLIND = np.arange(20, EVENTS.n_steps, 437)


def unequal(path: Path) -> None:
    np.savez(path, pn_raw=[1, 2], io_raw=[1], rate_hz=500.0, cs=[0], us=[0], spontaneous_start=1)


TRAININGS: dict[str, Callable[[Path], Any]] = {
    "EVENTS": EVENTS.save,
    "TEXT": lambda path: path.write_text("no archive"),
    "TRIALS": Protocol(trials=(Trial.PAIRED,) * 3).events(CONFIG, 1).save,
    "NO_CS": replace(EVENTS, cs=EVENTS.cs[:0]).save,
    "UNPAIRED": replace(EVENTS, us=EVENTS.us[1:]).save,
    "SILENT_PN": replace(EVENTS, pn=EVENTS.pn[:0]).save,
    "EVOKED_PN": replace(EVENTS, pn=EVENTS.pn[EVENTS.pn < START]).save,
    "EVOKED_IO": replace(EVENTS, io=EVENTS.io[EVENTS.io < START]).save,
    "BLIND_IO": replace(EVENTS, io=BLIND).save,
    "UNEQUAL": unequal,
    "FLAT": replace(RAW, pn_raw=np.zeros_like(RAW.pn_raw)).save,
    "LATE_CS": replace(RAW, cs=np.array([10**7])).save,
    "UNPAIRED_RAW": replace(RAW, us=RAW.us[:-1]).save,
    "RAW": RAW.save,
}
MISTAKES = [
    (("none.npz",), r"none.npz: No such file"),
    (("TEXT",), r"not an .npz file"),
    (("TRIALS",), r"spontaneous_start: entry is missing"),
    (("NO_CS",), r"cs: no trial; record 30 paired trials more"),
    (("UNPAIRED",), r"us: none after cs[0] = "),
    (("SILENT_PN",), r"no PN detection 10 to 150 ms after any of the 30 CS"),
    (("EVOKED_PN",), r"no spontaneous PN detection in 120 s"),
    (("EVOKED_IO",), r"no spontaneous IO detection in 120 s"),
    (("BLIND_IO",), r"the IO channel does not see the US in these 30 trials"),
    (("UNEQUAL",), r"unequal.npz: io_raw: has 1 samples, pn_raw has 2"),
    (("FLAT",), r"none of 50 PN thresholds calibrates: no PN detection"),
    (("LATE_CS",), r"late_cs.npz: cs[0] = 10000000: limit is n_steps - 1"),
    (("UNPAIRED_RAW",), r"us: none after cs[29] = "),
    (("EVENTS", "--delta-a", "-0.2"), r"delta_a = -0.2: must be above 0"),
    (("EVENTS", "--trials-e", "0"), r"trials_e = 0: must be above 0"),
    (("EVENTS", "--costs", "1", "2", "2"), r"costs = 1, 2, 2: must be above 0, and the third"),
    (("EVENTS", "--costs", "1", "2"), r"Invalid value for '--costs'"),
    (("EVENTS", "--noi-pass", "2"), r"noi_pass = 2: a share"),
    (("EVENTS", "--delta-e", "5", "--delta-a", "0.001"), r"must be above 0; record"),
    (("EVENTS", "--out", "no/such/c"), r"no/such/c: cannot be written"),
    (("EVENTS", "--figure", "no/such/f"), r"no/such/f: cannot be written"),
    (("EVENTS", "--config", "none.toml"), r"none.toml: No such file"),
    (
        ("EVENTS", "--config", "NARROW"),
        r"plasticity.potentiation = 1.59627e-05: becomes 1.52588e-05 in UQ(0,17), off by 4.4%",
    ),
    (("RAW", "--config", "SAMPLE"), r"raw.npz: samples from "),
]


@pytest.mark.parametrize(("args", "message"), MISTAKES, ids=[" ".join(args) for args, _ in MISTAKES])
def test_mistakes_are_one_line_and_leave_nothing(
    microzone: Callable[..., Outcome], tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    configs = {
        "NARROW": '[plasticity]\npotentiation = 0.0\n[formats]\npotentiation = "UQ(0,17)"\n',
        "SAMPLE": '[formats]\nsample = "SQ(8,0)"\n',
    }
    names = {name: tmp_path / f"{name.lower()}.toml" for name in configs}
    for name, text in configs.items():
        names[name].write_text(text)
    if args[0] in TRAININGS:
        names[args[0]] = tmp_path / f"{args[0].lower()}.npz"
        TRAININGS[args[0]](names[args[0]])
    target = () if "--out" in args else ("--out", "c.toml")
    outcome = microzone("calibrate", *(names.get(arg, arg) for arg in args), *target)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert not list(Path.cwd().iterdir()), "something was written"

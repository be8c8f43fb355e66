"""Verbs that are ended by a signal at a random moment: nothing runs on, nothing is half-written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hostile_inputs import recording, training
from microzone.gateware.processes import adopt_orphans
from microzone.gateware.scratch import sweep
from test_processes import below, runs, until

SEED = 20261130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SMALL = ("--paired", "8", "--cs-alone", "8")
VERBS: dict[str, tuple[str, ...]] = {
    "demo": ("demo", *SMALL, "--out", "out"),
    "adaptive": ("demo", "--adaptive", *SMALL, "--out", "out"),
    "session": ("session", "--paired", "3", "--iti", "2", "3", "--out", "out"),
    "session, gateware": ("session", "--model", "rtl", "--paired", "2", "--iti", "2", "3", "--out", "out"),
    "sim": ("sim", "link", "--waves", "--out", "out"),
    "sweep": ("sweep", "--sessions", "8", "--out", "out"),
    "reproduce": ("reproduce", "11", "--out", "out"),
    "build": ("build", "icebreaker", "--out", "out"),
    "verilog": ("verilog", "chip", "--out", "out.sv"),
    "run": ("run", "good.npz", "--model", "rtl", "--out", "result.npz"),
    "compare": ("compare", "good.npz", "--out", "out"),
    "calibrate": ("calibrate", "good.npz", "--out", "chip.toml"),
    "detect": (
        "detect", "good.mat", "--channel", "HIGH", "--rate", "25000", "--model", "rtl", "--out", "events.npz",
    ),
    "cfpc": ("cfpc", "pursuit", "--model", "rtl", "--out", "out"),
    "infer": ("infer", "--want", "well_timed=0.4", "--simulations", "2000", "--out", "out"),
    "infer-compare": ("infer-compare", "--draws", "200", "--out", "out"),
    "host record": (
        "host", "record", "--simulated", "--paired", "3", "--iti", "0.6", "0.7", "--out", "out",
    ),
}  # fmt: skip
"""Each that takes more than a second; they read ``good.npz`` and ``good.mat``."""
LONGEST_S = {"build": 20.0, "session, gateware": 10.0, "host record": 10.0}
"""Moments are up to so many seconds after the start; else 5."""


def end_at_random(name: str, number: signal.Signals, rng: random.Random, folder: Path) -> None:
    """One round; the message of a failure has all that repeats it."""
    temporary, out = folder / "tmp", folder / "work"
    temporary.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    training(str(out / "good.npz"))
    recording(str(out / "good.mat"))
    moment_s = rng.uniform(0.2, LONGEST_S.get(name, 5.0))
    about = f"{name}, {number.name} after {moment_s:.3f} s; seed {SEED}"
    before = set(below(os.getpid()))
    with (folder / "printed").open("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "microzone.tools.cli.main", *VERBS[name]],
            cwd=out, env=os.environ | {"TMPDIR": str(temporary)}, stdout=printed, stderr=printed,
        )  # fmt: skip
        try:
            process.wait(moment_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        status = process.wait(30)
        printed.seek(0)
        text = printed.read()
    if number is signal.SIGKILL:
        # What had no chance to end its programs leaves those that end by themselves: pipes close, compilers finish.
        assert until(lambda: not left_over(before), 60), f"still runs: {about}"
        sweep(temporary)
    else:
        assert status in (0, 128 + number, -number), f"status {status}: {about}\n{text}"
        left = [pid for pid in left_over(before) if not ends_by_itself(pid)]
        assert not left, f"still runs: {about}"
        assert until(lambda: not left_over(before), 2), f"still runs: {about}"
    assert "Traceback" not in text, f"{about}\n{text}"
    assert not list(temporary.glob("microzone-*")), f"temporary files: {about}"
    check_whole(out, about)


def left_over(before: set[int]) -> list[int]:
    """Programs that have been started since and go on, whoever was their parent."""
    return [pid for pid in set(below(os.getpid())) - before if runs(pid)]


def ends_by_itself(pid: int) -> bool:
    """Whether it is ending, or is what multiprocessing keeps beside a program and ends a moment after it."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return not command or b"multiprocessing.resource_tracker" in command


def check_whole(folder: Path, about: str) -> None:
    """Each file in a folder can be read to its end."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            if path.suffix == ".npz":
                with np.load(path) as archive:
                    assert [archive[entry] for entry in archive.files]
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".toml":
                tomllib.loads(path.read_text())
            elif path.suffix == ".png":
                assert matplotlib.image.imread(path).size
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>")
            elif path.suffix == ".sv":
                assert "endmodule" in path.read_text()[-200:]
        except Exception as error:
            raise AssertionError(f"{path.name} is half-written: {about}") from error


@pytest.fixture(autouse=True)
def _orphans() -> None:
    adopt_orphans()


@pytest.mark.parametrize("name", ["demo", "sim", "sweep"])
def test_a_verb_that_is_ended_leaves_nothing(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED} {name}")
    for number in rng.sample(SIGNALS, 2):
        end_at_random(name, number, rng, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_fifty_rounds(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED} rounds {name}")
    began = time.monotonic()
    for round_number in range(50):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        end_at_random(name, rng.choice(SIGNALS), rng, folder)
    print(f"{name}: 50 rounds in {time.monotonic() - began:.0f} s")

"""Each call that writes to a disk made to fail in turn: a run ends right or in one line, never with a wrong file.

The calls are those of Python and what it has loaded (``full_disk.c``); the programs that simulations are have
``test_full_disk.py``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hostile_inputs import recording, spec
from test_signals import check_whole

HERE = Path(__file__).resolve().parent
SEED = 20261201
SMALL = ("--paired", "4", "--cs-alone", "4")
VERBS: dict[str, tuple[str, ...]] = {
    "demo": ("demo", *SMALL, "--out", "out"),
    "session": ("session", "--paired", "2", "--iti", "2", "3", "--out", "out"),
    "run": ("run", "events.npz", "--out", "result.npz"),
    "compare": ("compare", "events.npz", "--out", "out"),
    "calibrate": ("calibrate", "training.npz", "--out", "chip.toml"),
    "verilog": ("verilog", "link", "--out", "link.sv"),
    "sim": ("sim", "link", "--simulator", "icarus"),
    "sim with waves": ("sim", "link", "--simulator", "icarus", "--waves", "--out", "out"),
    "detect": (
        "detect", "good.mat", "--channel", "HIGH", "--rate", "25000", "--figure", "seen.png",
        "--out", "detected.npz",
    ),
    "build": ("build", "icebreaker", "--design", "cfpc", "--out", "out"),
    "cfpc": ("cfpc", "pursuit", "--trials", "2", "--out", "out"),
    "cfpc robustness": ("cfpc", "robustness", "--trials", "1", "--out", "out"),
    "infer": (
        "infer", "--want", "well_timed=0.16", "--parameters", "threshold,noi_delay", "--simulations", "500",
        "--paired", "60", "--cs-alone", "0", "--unpaired", "0", "--sessions", "2", "--samples", "1",
        "--workers", "0", "--out", "out",
    ),
    "infer-compare": ("infer-compare", "--circuits", "noi-0", "--draws", "50", "--sessions", "12", "--workers", "0", "--out", "out"),
    "reproduce": ("reproduce", "4", "--no-rtl", "--workers", "0", "--out", "out"),
    "sweep": (
        "sweep", "good.toml", "--sessions", "2", "--no-synthesis", "--workers", "0", "--out", "out",
    ),
}  # fmt: skip
"""Each verb that writes; ``host record`` and its journal have test_journal.py."""
SHARES = {"infer": 0.25}
"""Of the calls; else all. Most of this verb's write one of a hundred equal parts."""


class Runner:
    """A process that has loaded all, and runs verbs in copies of itself."""

    def __init__(self, folder: Path) -> None:
        shim = folder / "full_disk.so"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", shim, HERE / "full_disk.c", "-ldl"], check=True
        )
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "kept").mkdir()
        given = os.environ | {
            "LD_PRELOAD": str(shim), "TMPDIR": str(self.temporary), "PYTHONPATH": str(HERE), "MPLBACKEND": "agg",
            "KEPT": str(folder / "kept"),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, HERE / "fault_runs.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=given,
        )  # fmt: skip

    def run(self, folder: Path, arguments: tuple[str, ...], calls: int) -> tuple[int, int, str]:
        """Status, how many calls wrote or would have, and what was printed."""
        pipes: tuple[IO[str] | None, ...] = (self._process.stdin, self._process.stdout)
        assert pipes[0] is not None and pipes[1] is not None
        print(json.dumps([str(folder), arguments, calls]), file=pipes[0], flush=True)
        status, used, text = json.loads(pipes[1].readline())
        return status, used, text

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc and LD_PRELOAD")
    made = Runner(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs read."""
    folder = tmp_path_factory.mktemp("start")
    subprocess.run(
        [sys.executable, "-m", "microzone.tools.cli.main", "demo", "--adaptive", *SMALL, "--out", "d"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    for name in ("events.npz", "training.npz"):
        shutil.copy(folder / "d" / name, folder / name)
    shutil.rmtree(folder / "d")
    recording(str(folder / "good.mat"))
    (folder / "good.toml").write_text(spec())
    return folder


def fresh(start: Path, folder: Path) -> Path:
    return Path(shutil.copytree(start, folder))


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every entry of every archive in a folder."""
    found = {}
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as archive:
            found |= {f"{path.relative_to(folder)}:{name}": archive[name] for name in archive.files}
    return found


def check(runner: Runner, start: Path, folder: Path, name: str, share: float, seed: int) -> int:
    """One verb, undisturbed and then with faults at a share of its calls; how many there were."""
    right = fresh(start, folder / "right")
    runner.run(right, VERBS[name], -1)  # compiles, and fills caches
    shutil.rmtree(right)
    fresh(start, right)
    status, calls, text = runner.run(right, VERBS[name], -1)
    assert status == 0, text
    expected = arrays(right)
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(calls), max(round(calls * share), min(calls, 6))))
    for call in chosen:
        work = fresh(start, folder / str(call))
        about = f"{name}, call {call} of {calls} (seed {seed})"
        status, _, text = runner.run(work, VERBS[name], call)
        assert "Traceback" not in text and status != 70, f"{about}\n{text}"
        check_whole(work, about)
        got = arrays(work)
        assert all(np.array_equal(got[entry], expected[entry]) for entry in got), f"{about}: wrong file"
        if status == 0:
            assert got.keys() == expected.keys(), f"{about}: {sorted(expected.keys() - got.keys())} missing"
        else:
            last = text.strip().splitlines()[-1]
            assert last.startswith("error: ") and "No space left" in last, f"{about}\n{text}"
        assert not list(runner.temporary.glob("microzone-*")), about
        assert not list(work.rglob(".*")), f"{about}: {list(work.rglob('.*'))}"
        shutil.rmtree(work)
    return calls


@pytest.mark.parametrize("name", ["run"])
def test_some_calls_fail(name: str, runner: Runner, start: Path, tmp_path: Path) -> None:
    check(runner, start, tmp_path, name, 0.0, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_each_call_fails(name: str, runner: Runner, start: Path, tmp_path: Path) -> None:
    share = SHARES.get(name, 1.0)
    calls = check(runner, start, tmp_path, name, share, SEED)
    print(f"{name}: {calls} calls, {share:.0%} of them failed once")
